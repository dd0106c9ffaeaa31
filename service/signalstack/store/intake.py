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
from time import perf_counter
from typing import TYPE_CHECKING, Final

from signalstack.core.errors import InvalidError, UnavailableError
from signalstack.core.stage import Flushed
from signalstack.store import writes
from signalstack.store.link import Call, Link, Statement, StatementError
from signalstack.store.wal import FLUSH_WAL, WalFlusher

if TYPE_CHECKING:
    from uuid import UUID

    from psycopg.pq.abc import PGresult

    from signalstack.core.stage import Observer
    from signalstack.store.writes import Receipt, Write

    _Sent = asyncio.Future[list[PGresult]]

_DO_NOT_FLUSH: Final = Statement("intake/do_not_flush")
STATEMENTS: Final = (*writes.STATEMENTS, _DO_NOT_FLUSH, FLUSH_WAL)

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
# What waits to be stored or to be on disk; beyond it callers are refused at once.
WAITING_JOBS: Final = 20_000
WAITING_BYTES: Final = 32 * 1024**2
# Data exceptions, statement too complex or too large: the row's fault, not PostgreSQL's.
_ROW_FAULTS: Final = ("22", "54")
# Lost against another, out of resources, locked for too long, told to stop: later it may do.
_PASSING_FAULTS: Final = ("40", "53", "55", "57")


def make_beside(dsn: str, observer: Observer) -> Link:
    """Make the second link of an intake, which is still to be kept open."""
    return Link("intake beside", dsn, STATEMENTS, observer, settings=SESSION)


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
        self._held_jobs = 0
        self._held_bytes = 0
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
        self._admit(pending)
        if self._in_flight:
            self._waiting.append(pending)
        else:
            self._send([pending])
        return await future

    async def flush_wal(self) -> None:
        """Return once everything that was committed before is on disk, durable or not.

        Raises:
            UnavailableError: PostgreSQL is away, or cannot now.
        """
        await self._wal.flush(self._link.opened)

    def _admit(self, pending: _Pending) -> None:
        """Count a write as held, until it is answered; one by itself may be of any size."""
        jobs, size = self._held_jobs + pending.jobs, self._held_bytes + pending.size
        if self._held_jobs and (jobs > WAITING_JOBS or size > WAITING_BYTES):
            raise UnavailableError("PostgreSQL is too slow: too much waits to be stored already")
        self._held_jobs, self._held_bytes = jobs, size

    def _release(self, pending: _Pending) -> None:
        self._held_jobs -= pending.jobs
        self._held_bytes -= pending.size

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
                self._release(self._waiting.popleft())
                continue
            if write.key is not None:
                name = (write.user_id, write.key.route, write.key.key)
                if name in keys:
                    break
                keys.add(name)
            group.append(self._waiting.popleft())
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
            kinds = [[pending.write for pending in part] for part in parts]
            link = self._free_link()
            durable, hurry = _choose_pace(kinds, pooled=link.pooled)
            alone = len(kinds) == len(kinds[0]) == 1 and writes.may_be_handed(kinds[0][0])
            calls = [
                writes.make_call(kind, handed=alone, hurry=hurry, pooled=link.pooled)
                for kind in kinds
            ]
        except (ValueError, OverflowError, struct.error) as error:
            refused: _Sent = self._link.new_future()
            refused.set_exception(InvalidError(f"PostgreSQL cannot store this: {error}"))
            return refused, refused
        if hurry and not writes.hurries(calls[-1]):
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
        for pending in group:
            self._release(pending)
        error = done.exception()
        if error is not None:
            _refuse(group, error)
            return
        for part, result in zip(parts, done.result(), strict=False):  # _DO_NOT_FLUSH is the last
            receipts = writes.read_receipts([pending.write for pending in part], result)
            for pending, receipt in zip(part, receipts, strict=True):
                if not pending.future.done():
                    pending.future.set_result(receipt)
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


def _choose_pace(parts: list[list[Write]], *, pooled: bool) -> tuple[bool, bool]:
    """Tell whether somebody waits for the disk, and whether these may be stored before it.

    A pooler's connection outlives a crash of PostgreSQL: nobody could tell that what was stored
    is gone when the flush comes.
    """
    durable, few = False, sum(map(len, parts)) <= _HURRIED_WRITES
    for part in parts:
        for write in part:
            durable = durable or write.durable
            few = few and write.key is None
    return durable, not durable or (few and not pooled)


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
    return error.sqlstate.startswith(_PASSING_FAULTS) or error.queue_is_full


def _refuse(group: list[_Pending], error: BaseException) -> None:
    if isinstance(error, StatementError):
        if _may_pass(error):
            error = UnavailableError(f"PostgreSQL cannot store this now: {error}")
        elif error.sqlstate.startswith(_ROW_FAULTS):
            error = InvalidError(f"PostgreSQL cannot store this: {error}")
    for pending in group:
        if not pending.future.done():
            pending.future.set_exception(error)
