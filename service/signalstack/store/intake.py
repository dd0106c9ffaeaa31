"""Group commit: what concurrent callers write at the same moment becomes one commit.

A job that is stored by itself is handed to a worker that invited, where there is one.

A worker may begin with what few send at one moment before it is on disk, unless there is a key
among it; callers are answered after. While one connection waits for the disk a second one stores
what comes, so that a slow disk holds up nobody's start.

There is no timer. A write that finds nothing being stored is sent at once; those that arrive
meanwhile gather and leave together when that ends. A flush that PostgreSQL refuses is sent again
write by write, so that a bad row hurts only its own caller.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.errors import InvalidError, UnavailableError
from signalstack.core.event import NewEvent
from signalstack.core.job import NewJob
from signalstack.core.stage import Flushed
from signalstack.store import binary
from signalstack.store.link import Call, Link, Statement, StatementError
from signalstack.store.wal import FLUSH_WAL, WalFlusher

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from signalstack.core.stage import Observer

    _Sent = asyncio.Future[list[PGresult]]

_ENQUEUE: Final = Statement("intake/enqueue")
_ENQUEUE_ONE: Final = Statement("intake/enqueue_one")
_ENQUEUE_ONE_POOLED: Final = Statement("intake/enqueue_one_pooled")
_ACCEPT: Final = Statement("intake/accept")
_DO_NOT_FLUSH: Final = Statement("intake/do_not_flush")
STATEMENTS: Final = (_ENQUEUE, _ENQUEUE_ONE, _ACCEPT, _DO_NOT_FLUSH, FLUSH_WAL)

# Plans that hold however the tables grow; a request waits for no longer than this.
SESSION: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "jit": "off",
    "statement_timeout": "4s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
    "idle_session_timeout": "0",
}
_FLUSH_JOBS: Final = 1_000
_FLUSH_BYTES: Final = 8 * 1024**2
# So few are stored before they are on disk: a flush by itself costs more than it spares when many
# share it.
_HURRIED_WRITES: Final = 8
# What waits while PostgreSQL does not answer; beyond it callers are refused at once.
WAITING_JOBS: Final = 20_000
WAITING_BYTES: Final = 32 * 1024**2
_KEY_FIELDS: Final = 5  # of who holds a key
# Data exceptions, statement too complex or too large: the row's fault, not PostgreSQL's.
_ROW_FAULTS: Final = ("22", "54")
# Lost against another, out of resources, locked for too long, told to stop: later it may do.
_PASSING_FAULTS: Final = ("40", "53", "55", "57")


def make_beside(dsn: str, observer: Observer) -> Link:
    """Make the second link of an intake, which is still to be kept open."""
    return Link("intake beside", dsn, STATEMENTS, observer, settings=SESSION)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency key as given; `fingerprint` is a SHA-256 of what it stands for."""

    route: str
    key: str
    fingerprint: bytes


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """What one request wants stored: jobs, or an event with the jobs that it caused.

    `version` is the tenant's version of the subscriptions that an event was matched against. The
    caller of one that is not `durable` hears of its commit before it is on disk, and answers
    nobody until a later commit that is, such as that of the job's outcome, or `Intake.flush_wal`.
    """

    user_id: UUID
    jobs: Sequence[NewJob]
    event: NewEvent | None = None
    version: int = 0
    key: Key | None = None
    durable: bool = True

    @property
    def ref(self) -> UUID:
        """What an idempotency key points at: the event, or the first job."""
        return self.event.id if self.event is not None else self.jobs[0].id


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds an idempotency key: what it was first used for, and what that made."""

    fingerprint: bytes
    ref: UUID


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a write: `stored`, else a repeat (of `owner`) or matched out of date."""

    created_at: datetime
    stored: bool
    owner: Owner | None


class _Pending:
    __slots__ = ("future", "jobs", "size", "write")

    def __init__(self, write: Write, future: asyncio.Future[Receipt]) -> None:
        self.write = write
        self.future = future
        self.jobs = max(len(write.jobs), 1)
        self.size = 0 if write.event is None else len(write.event.payload)
        for job in write.jobs:
            self.size += len(job.payload)


class Intake:
    """Where every event and job enters the database.

    It goes `beside` while `link` waits for the disk, where there is such a second link.
    """

    def __init__(self, link: Link, observer: Observer, *, beside: Link | None = None) -> None:
        self._link = link
        self._beside = beside
        self._wal = WalFlusher(link)
        self._observer = observer
        self._waiting: deque[_Pending] = deque()
        self._waiting_jobs = 0
        self._waiting_bytes = 0
        self._in_flight = 0

    async def submit(self, write: Write) -> Receipt:
        """Store a write with whatever else arrives just now; returns once it is committed.

        Jobs without a key may start before they are on disk: where one gets lost together with
        PostgreSQL, its caller has no answer, and would make a new one in any case.

        Raises:
            UnavailableError: PostgreSQL is away, or so slow that too much waits for it; if it went
                away meanwhile the outcome is unknown.
            InvalidError: PostgreSQL cannot store what the write holds.
        """
        future: asyncio.Future[Receipt] = self._link.new_future()
        pending = _Pending(write, future)
        if self._in_flight:
            self._take_in(pending)
        else:  # nothing waits
            self._send([pending])
        return await future

    async def flush_wal(self) -> None:
        """Return once everything that was committed before is on disk, durable or not.

        Raises:
            UnavailableError: PostgreSQL is away, or cannot now.
        """
        await self._wal.flush(self._link.opened)

    def _take_in(self, pending: _Pending) -> None:
        if (
            self._waiting_jobs + pending.jobs > WAITING_JOBS
            or self._waiting_bytes + pending.size > WAITING_BYTES
        ):
            raise UnavailableError("PostgreSQL is too slow: too much waits to be stored already")
        self._waiting_jobs += pending.jobs
        self._waiting_bytes += pending.size
        self._waiting.append(pending)

    def _take_out(self) -> _Pending:
        pending = self._waiting.popleft()
        self._waiting_jobs -= pending.jobs
        self._waiting_bytes -= pending.size
        return pending

    def _flush(self) -> None:
        if group := self._gather():
            self._send(group)

    def _gather(self) -> list[_Pending]:
        """Take what fits into one flush; a key's second use waits for the next."""
        group: list[_Pending] = []
        keys: set[tuple[UUID, str, str]] = set()
        jobs = size = 0
        while self._waiting and jobs < _FLUSH_JOBS and size < _FLUSH_BYTES:
            write = self._waiting[0].write
            if self._waiting[0].future.done():
                # Its caller gave up: what it wanted was told to be unknown, so it need not be done.
                self._take_out()
                continue
            if write.key is not None:
                name = (write.user_id, write.key.route, write.key.key)
                if name in keys:
                    break
                keys.add(name)
            group.append(self._take_out())
            jobs += group[-1].jobs
            size += group[-1].size
        return group

    def _send(self, group: list[_Pending], *, again: bool = False) -> None:
        self._in_flight += 1
        began = perf_counter()
        parts = _split(group)
        stored, kept = self._send_parts(parts)
        kept.add_done_callback(lambda done: self._kept(done, group, parts, began, again=again))
        stored.add_done_callback(self._stored)

    def _send_parts(self, parts: list[list[_Pending]]) -> tuple[_Sent, _Sent]:
        """Send a group; gives what ends when it is stored, and when it may be answered."""
        try:
            writes = [[pending.write for pending in part] for part in parts]
            durable, hurry = _choose_pace(writes)
            alone = len(writes) == len(writes[0]) == 1 and _may_be_handed(writes[0][0])
            link = self._free_link()
            calls = [_call(part, alone=alone, hurry=hurry, pooled=link.pooled) for part in writes]
        except (ValueError, OverflowError, struct.error) as error:
            refused: _Sent = self._link.new_future()
            refused.set_exception(InvalidError(f"PostgreSQL cannot store this: {error}"))
            return refused, refused
        if hurry and calls[-1].statement not in (_ENQUEUE_ONE, _ENQUEUE_ONE_POOLED):
            calls.append(Call(_DO_NOT_FLUSH))
        stored = link.send(*calls)
        return stored, self._once_on_disk(stored, link) if hurry and durable else stored

    def _free_link(self) -> Link:
        """Choose the link that does not wait for the disk."""
        beside = self._beside
        if not self._wal.busy or beside is None or not beside.up or beside.pooled:
            return self._link
        # A flush says nothing of another server: after a failover one link may be ahead.
        return beside if beside.server == self._link.server else self._link

    def _once_on_disk(self, stored: _Sent, link: Link) -> _Sent:
        """Let what was `stored` be answered when it is on disk."""
        kept: _Sent = self._link.new_future()
        opened = self._link.opened

        def conclude(flushed: asyncio.Future[None]) -> None:
            refusal, doubt = stored.exception(), flushed.exception()
            # What is in doubt is never sent again, as what is refused may be: it is there, and
            # may run already.
            if (error := refusal or doubt) is not None:
                kept.set_exception(error)
            else:
                kept.set_result(stored.result())

        def flush(_: _Sent) -> None:
            self._wal.flush(opened).add_done_callback(conclude)

        if link is self._link and not self._wal.busy:
            flush(stored)  # sent along with it, and done behind it
        else:
            stored.add_done_callback(flush)
        return kept

    def _stored(self, _: _Sent) -> None:
        # Behind those who are answered just now: what they send next goes along.
        asyncio.get_running_loop().call_soon(self._send_next)

    def _send_next(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._flush()

    def _kept(
        self,
        done: _Sent,
        group: list[_Pending],
        parts: list[list[_Pending]],
        began: float,
        *,
        again: bool,
    ) -> None:
        smaller = _smaller(done.exception(), group, again=again)
        for part in smaller:
            self._send(part, again=True)
        if not smaller:
            self._conclude(done, group, parts, began)

    def _conclude(
        self,
        done: _Sent,
        group: list[_Pending],
        parts: list[list[_Pending]],
        began: float,
    ) -> None:
        error = done.exception()
        if error is not None:
            _refuse(group, error)
            return
        for part, result in zip(parts, done.result(), strict=False):  # _DO_NOT_FLUSH is the last
            _hand_out(part, result)
        self._observer.tell(
            Flushed(
                writes=len(group),
                jobs=sum(len(pending.write.jobs) for pending in group),
                duration_s=perf_counter() - began,
            )
        )


def _split(group: list[_Pending]) -> list[list[_Pending]]:
    """Part jobs from events: each are stored by a statement of their own."""
    if len(group) == 1:
        return [group]
    plain = [pending for pending in group if pending.write.event is None]
    events = [pending for pending in group if pending.write.event is not None]
    return [part for part in (plain, events) if part]


def _choose_pace(parts: list[list[Write]]) -> tuple[bool, bool]:
    """Tell whether somebody waits for the disk, and whether these may be stored before it."""
    durable, few = False, sum(map(len, parts)) <= _HURRIED_WRITES
    for part in parts:
        for write in part:
            durable = durable or write.durable
            few = few and write.key is None
    return durable, few or not durable


def _smaller(
    error: BaseException | None, group: list[_Pending], *, again: bool
) -> list[list[_Pending]]:
    """Tell in which parts a refused flush may do better; a deadlock's loser also as it is.

    Halves find a bad write in few steps, however many good ones came with it. Where no write is to
    blame (a lock, a full disk), each part would only wait for the same again.
    """
    if not isinstance(error, StatementError | InvalidError):
        return []
    contended = isinstance(error, StatementError) and error.sqlstate.startswith("40")
    if isinstance(error, StatementError) and _may_pass(error) and not contended:
        return []
    if len(group) > 1:
        middle = len(group) // 2
        return [group[:middle], group[middle:]]
    return [group] if contended and not again else []


def _may_pass(error: StatementError) -> bool:
    # A full NOTIFY queue is a 54000 too, but no row is to blame.
    return error.sqlstate.startswith(_PASSING_FAULTS) or "NOTIFY" in str(error)


def _refuse(group: list[_Pending], error: BaseException) -> None:
    if isinstance(error, StatementError):
        if _may_pass(error):
            error = UnavailableError(f"PostgreSQL cannot store this now: {error}")
        elif error.sqlstate.startswith(_ROW_FAULTS):
            error = InvalidError(f"PostgreSQL cannot store this: {error}")
    for pending in group:
        if not pending.future.done():
            pending.future.set_exception(error)


def _may_be_handed(write: Write) -> bool:
    """Tell whether this is one job that a worker may have at once.

    What is handed over costs an attempt if that worker is no more, so there must be another.
    """
    if len(write.jobs) != 1:
        return False
    (job,) = write.jobs
    return job.run_at is None and not job.delay_s and job.max_attempts > 1


def _call(writes: Sequence[Write], *, alone: bool, hurry: bool, pooled: bool) -> Call:
    """Make the call for writes of one kind; a job that comes `alone` may be handed over.

    The statement for one job can be told to `hurry` and not wait for the disk.
    """
    first = writes[0]
    handed = binary.pack_bool(alone)
    if first.event is not None:
        return Call(_ACCEPT, [*_accept_parameters(writes), handed])
    if len(writes) == len(first.jobs) == 1 and first.key is None:
        one = _job_parameters(first.user_id, first.jobs[0])
        statement = _ENQUEUE_ONE_POOLED if pooled else _ENQUEUE_ONE
        return Call(statement, [*one, handed, binary.pack_bool(hurry)])
    return Call(_ENQUEUE, [*_enqueue_parameters(writes), handed])


def _hand_out(part: list[_Pending], result: PGresult) -> None:
    """Tell each caller of one statement what became of its write."""
    is_event = part[0].write.event is not None
    first_key = 2 if is_event else 1
    created_at = binary.read_timestamptz(result.get_value(0, 0) or b"")
    stored = set(binary.read_uuid_array(result.get_value(0, 1))) if is_event else None
    owners = _read_owners(result, first_key)
    for pending in part:
        if pending.future.done():
            continue
        write = pending.write
        key = write.key
        owner = owners.get((write.user_id.bytes, key.route, key.key)) if key else None
        if stored is None:
            kept = owner is None or owner.ref == write.ref
        else:
            kept = write.ref.bytes in stored
        pending.future.set_result(
            Receipt(created_at=created_at, stored=kept, owner=None if kept else owner)
        )


def _read_owners(result: PGresult, first_key: int) -> dict[tuple[bytes, str, str], Owner]:
    owners: dict[tuple[bytes, str, str], Owner] = {}
    if result.nfields < first_key + _KEY_FIELDS:  # a statement without keys
        return owners
    for row in range(result.ntuples):
        user_id, route, key, fingerprint, ref = (
            result.get_value(row, first_key + column) for column in range(_KEY_FIELDS)
        )
        if user_id is not None and route is not None and key is not None:
            owners[user_id, route.decode(), key.decode()] = Owner(
                fingerprint=fingerprint or b"", ref=UUID(bytes=ref)
            )
    return owners


def _job_parameters(user_id: UUID, job: NewJob) -> list[bytes | None]:
    return [
        user_id.bytes,
        job.id.bytes,
        job.type.encode(),
        job.queue.encode(),
        binary.pack_int2(job.priority),
        None if job.run_at is None else binary.pack_timestamptz(job.run_at),
        None if job.delay_s is None else binary.pack_float8(job.delay_s),
        binary.pack_int4(job.max_attempts),
        None if job.timeout_s is None else binary.pack_float8(job.timeout_s),
        None if job.traceparent is None else job.traceparent.encode(),
        binary.pack_jsonb(job.payload),
        binary.pack_int2(job.watch),
    ]


def _key_parameters(writes: Sequence[Write]) -> list[bytes]:
    keyed = [(write, write.key) for write in writes if write.key is not None]
    return [
        binary.uuid_array([write.user_id.bytes for write, _ in keyed]),
        binary.text_array([key.route for _, key in keyed]),
        binary.text_array([key.key for _, key in keyed]),
        binary.bytea_array([key.fingerprint for _, key in keyed]),
        binary.uuid_array([write.ref.bytes for write, _ in keyed]),
    ]


def _enqueue_parameters(writes: Sequence[Write]) -> list[bytes]:
    rows = [(write, job) for write in writes for job in write.jobs]
    return [
        binary.uuid_array([write.user_id.bytes for write, _ in rows]),
        binary.uuid_array([job.id.bytes for _, job in rows]),
        binary.text_array([job.type for _, job in rows]),
        binary.text_array([job.queue for _, job in rows]),
        binary.int2_array([job.priority for _, job in rows]),
        binary.timestamptz_array([job.run_at for _, job in rows]),
        binary.float8_array([job.delay_s for _, job in rows]),
        binary.int4_array([job.max_attempts for _, job in rows]),
        binary.float8_array([job.timeout_s for _, job in rows]),
        binary.text_array([write.key.key if write.key else None for write, _ in rows]),
        binary.text_array([job.traceparent for _, job in rows]),
        binary.jsonb_array([job.payload for _, job in rows]),
        binary.uuid_array([write.ref.bytes if write.key else None for write, _ in rows]),
        binary.int2_array([job.watch for _, job in rows]),
        *_key_parameters(writes),
    ]


def _accept_parameters(writes: Sequence[Write]) -> list[bytes]:
    events = [(write, write.event) for write in writes if write.event is not None]
    jobs = [(write, event, job) for write, event in events for job in write.jobs]
    return [
        binary.uuid_array([write.user_id.bytes for write, _ in events]),
        binary.uuid_array([event.id.bytes for _, event in events]),
        binary.text_array([event.type for _, event in events]),
        binary.jsonb_array([event.payload for _, event in events]),
        binary.text_array([event.source for _, event in events]),
        binary.text_array([event.subject for _, event in events]),
        binary.text_array([event.external_id for _, event in events]),
        binary.timestamptz_array([event.occurred_at for _, event in events]),
        binary.jsonb_array([event.extensions for _, event in events]),
        binary.int8_array([write.version for write, _ in events]),
        binary.uuid_array([event.id.bytes if write.key else None for write, event in events]),
        *_key_parameters(writes),
        binary.int8_array([write.version for write in writes if write.key is not None]),
        binary.uuid_array([job.id.bytes for _, _, job in jobs]),
        binary.uuid_array([event.id.bytes for _, event, _ in jobs]),
        binary.text_array([job.type for _, _, job in jobs]),
        binary.text_array([job.queue for _, _, job in jobs]),
        binary.int2_array([job.priority for _, _, job in jobs]),
        binary.float8_array([job.delay_s or 0.0 for _, _, job in jobs]),
        binary.int4_array([job.max_attempts for _, _, job in jobs]),
        binary.text_array([job.traceparent for _, _, job in jobs]),
        binary.jsonb_array([job.payload for _, _, job in jobs]),
    ]
