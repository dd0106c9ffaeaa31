"""The worker's statements: claim, promote, settle; rows in and out in binary."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter, itemgetter
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from uuid import UUID

import msgspec

from signalstack.core.ids import read_uuid
from signalstack.core.job import Outcome, Wake
from signalstack.store import binary
from signalstack.store.link import Call, Link, Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.pq.abc import PGresult

    _Rows = list[tuple[Any, ...]]
    _Said = tuple[int, int, bytes | None, int, bool, float | None]

Value = TypeVar("Value")

_CLAIM: Final = Statement("dispatch/claim")
_CLAIM_PLAIN: Final = Statement("dispatch/claim_plain")
_CLAIM_NEW: Final = Statement("dispatch/claim_new")
_CLAIM_NEXT: Final = Statement("dispatch/claim_next")
_DO_NOT_SORT: Final = Statement("dispatch/do_not_sort", aside=True)
_DEAD: Final = Statement("dispatch/dead_entries", aside=True)
_PROMOTE: Final = Statement("dispatch/promote")
_BUSY: Final = Statement("dispatch/busy_queues")
_LOOK: Final = Statement("invitations/look")
_RING: Final = Statement("dispatch/ring")
_CLOCK: Final = Statement("dispatch/clock")
_DISOWN: Final = Statement("dispatch/disown")
_FINISH: Final = Statement("dispatch/finish")
_FINISH_AT: Final = Statement("dispatch/finish_at")
_FINISH_ONE: Final = Statement("dispatch/finish_one")
_REQUEUE: Final = Statement("dispatch/requeue")
_CANCELLED: Final = Statement("dispatch/cancelled")
_PAYLOAD: Final = Statement("dispatch/payload")
CLAIM_STATEMENTS: Final = (
    _CLAIM,
    _CLAIM_PLAIN,
    _CLAIM_NEW,
    _CLAIM_NEXT,
    _DO_NOT_SORT,
    _DEAD,
    _PROMOTE,
    _BUSY,
    _LOOK,
    _RING,
    _CLOCK,
    _DISOWN,
    _CANCELLED,
)
SETTLE_STATEMENTS: Final = (_FINISH, _FINISH_AT, _FINISH_ONE, _REQUEUE, _PAYLOAD)

# What the payloads that come with one claim may have together, and one that comes by itself.
CLAIM_BYTES: Final = 8_388_608
INLINE_BYTES: Final = 65_536
PAYLOAD_LIMIT: Final = 67_108_864
PROMOTE_LIMIT: Final = 1_000
NIL: Final = bytes(16)
_FIRST_READINGS: Final = 5

# Plans that hold while the table goes from empty to millions and back within one statistics run.
SESSION: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    # It would read a whole lane to take its first jobs, and costs a job that is settled a tenth
    # more: a bitmap is made for each row, and the kernel asked how long the table is.
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "idle_session_timeout": "0",
}
# A lost claim is only a claim to be made again, so its commit need not wait for the disk.
CLAIM_SESSION: Final = {**SESSION, "synchronous_commit": "off"}

# Columns of the claims. What is said of a claim as a whole comes first, in all rows alike: how many
# lanes were walked, the share of each, where to go on, how many jobs were chosen, whether lanes
# were left alone, and how long to wait.
_COMMON, _ID = 6, 7
_id: Final = itemgetter(_ID)
_priority: Final = itemgetter(4)  # of what follows
_WAKES: Final = {wake.value: wake for wake in Wake}
_lock_order: Final = attrgetter("lease.user_id", "lease.id")
_TERMINAL: Final = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED})
_NEXT_WAKE: Final = {
    Outcome.RETRIED: Wake.RETRY.value,
    Outcome.POSTPONED: Wake.TIMER.value,
}


class Lease(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A claimed job: `(id, attempt, token)` guards all that is written of this run.

    `user_id` and `id` are 16-byte strings, `due_at` and `postponed_at` are Unix time by the
    database's clock, `payload` is JSON, or None where it is to be read by itself. `spot` is where
    its row was when it was claimed (`tid`), None where that is not known or does not hold any more.
    """

    user_id: bytes
    id: bytes
    job_id: UUID
    type: str
    queue: str
    attempt: int
    max_attempts: int
    timeout_s: float | None
    due_at: float
    wake: Wake
    traceparent: str | None
    payload: bytes | None
    token: int
    postponed_at: float | None = None
    spot: bytes | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim brought; `drained` when no lane has more, `cursor` where to go on.

    `wait_s` is the time until a queue's rate limit allows more, None where none stands in the way.
    `plain` says that the walk came to its end and met no limits; else a plain claim left lanes
    alone. `dead` is how many index entries of jobs that are gone were stepped over, where counted.
    `reached` is the id before which no lane has more, save of lower priority than was leased there;
    None where that is not known.
    """

    leases: list[Lease]
    drained: bool
    cursor: bytes
    wait_s: float | None
    plain: bool
    dead: int | None = None
    reached: bytes | None = None


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of runs that were still ours, and of those whose job was cancelled meanwhile.

    `moved` are runs whose row is not where it was, if it is there: they are to be settled again.
    """

    settled: set[bytes]
    cancelled: set[bytes]
    moved: list[Ended]


class Ended(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run that is over and waits to be recorded.

    `delay_s` is the wait before the next run where there is one. `started_at` is None for a run
    that never began or was put off: its attempt is given back.
    """

    lease: Lease
    outcome: Outcome
    started_at: float | None
    finished_at: float
    error: str | None = None
    result: bytes | None = None
    delay_s: float = 0.0


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """Which queues got due jobs, how many, and how long until the next (None: none is waiting).

    `busy` are all queues that have jobs which wait or run, `dead` is how many entries of jobs that
    are gone were stepped over to find them, `invited` is the token of the worker's open
    invitation, where they were asked for.
    """

    queues: list[str]
    count: int
    next_s: float | None
    busy: list[str] = []
    dead: int = 0
    invited: int | None = None


class Dispatch:
    """Claims over one link and settles over another, so that neither waits for the other."""

    def __init__(self, claims: Link, settlements: Link) -> None:
        self._claims = claims
        self._settlements = settlements
        self._offset_s: float | None = None
        self._believed_s = 0.0

    def now(self) -> float:
        """Tell the Unix time by the database's clock, as well as it is known here."""
        return time() + (self._offset_s or 0.0)

    async def read_clock(self) -> None:
        """Compare the database's clock with ours; `now` goes by it from then on.

        A reading is wrong by half of the time it took at most: the first is the best of a few, and
        a later one that took much longer, as behind a claim, is not believed, or not for long.
        """
        known = self._offset_s is not None
        readings = [await self._compare_clocks() for _ in range(1 if known else _FIRST_READINGS)]
        took_s, offset_s = min(readings)
        if not known or took_s < self._believed_s:
            self._offset_s, self._believed_s = offset_s, 2 * took_s
        else:
            self._believed_s *= 2  # clocks drift: a rough reading will be better than none

    async def _compare_clocks(self) -> tuple[float, float]:
        began_at, began = time(), perf_counter()
        (result,) = await self._claims.run(Call(_CLOCK))
        took_s = perf_counter() - began
        return took_s, binary.read_unix(result.get_value(0, 0) or b"") - began_at - took_s / 2

    async def ring(self, queues: Sequence[str]) -> None:
        """Wake the workers of queues that this one cannot serve."""
        await self._claims.run(Call(_RING, (binary.text_array(queues),)))

    async def claim(
        self,
        queues: Sequence[str],
        *,
        worker_id: UUID,
        token: int,
        limit: int,
        lanes: int,
        cursor: bytes,
        cause: Wake,
        plain: bool = False,
        since: bytes = NIL,
        follows: bool = False,
        counted: bool = False,
        with_payloads: bool = True,
    ) -> Claim:
        """Lease up to `limit` jobs: an even share of each of up to `lanes` lanes past `cursor`.

        A `plain` claim costs half, leaves lanes with limits alone, and looks at ids from `since`
        on. One that `follows` another costs less still, but when it finds nothing, it does not know
        of lanes that it left alone. One that is `counted` tells how many dead entries it stepped
        over. Small payloads come along unless `with_payloads` is False.
        """
        inline = min(INLINE_BYTES, CLAIM_BYTES // limit) if with_payloads else 0
        parameters = (
            binary.text_array(queues),
            cursor,
            binary.pack_int4(limit),
            binary.pack_int4(lanes),
            worker_id.bytes,
            binary.pack_int8(token),
            cause.value.encode(),
            binary.pack_int4(inline),
        )
        dead = None
        if follows:
            rows, said = await self._claim_next((*parameters, since))
        elif plain and since != NIL:
            call = Call(_CLAIM_NEW, (*parameters, since))
            _, result = await self._claims.run(Call(_DO_NOT_SORT), call)
            rows, said = _read_claim(result)
        else:
            call = Call(_CLAIM_PLAIN if plain else _CLAIM, parameters)
            if counted:
                before, result, after = await self._claims.run(Call(_DEAD), call, Call(_DEAD))
                dead = _read_count(after) - _read_count(before)
            else:
                (result,) = await self._claims.run(call)
            rows, said = _read_claim(result)
        walked, share, last, chosen, held, wait_s = said
        leases = _read_leases(rows, token, inline)
        full = len(leases) >= share and (walked == 1 or _some_lane_is_full(leases, share))
        cut = walked >= lanes
        return Claim(
            leases=leases,
            drained=not cut and chosen == len(leases) and not full,
            cursor=last if cut and last is not None else NIL,
            wait_s=None if wait_s is None else max(wait_s, 0.0),
            plain=not cut and not held,
            dead=dead,
            reached=_reached(leases, walked) if leases and not cut else None,
        )

    async def _claim_next(self, parameters: Sequence[bytes]) -> tuple[_Rows, _Said]:
        """Claim what follows; its rows come in no order, and none when nothing was claimed."""
        _, result = await self._claims.run(Call(_DO_NOT_SORT), Call(_CLAIM_NEXT, parameters))
        rows = binary.read_rows(result)
        if not rows:
            return rows, (0, 1, None, 0, False, None)
        rows.sort(key=_id)
        rows.sort(key=_priority, reverse=True)  # which leaves equal ones in order
        walked, share, chosen, held = rows[0][:4]
        return rows, (walked, share, None, chosen, held, None)

    async def disown(self, tokens: Sequence[int]) -> int:
        """Give back what claims with these tokens leased, if anything; returns how many jobs."""
        (result,) = await self._claims.run(Call(_DISOWN, (binary.int8_array(tokens),)))
        return _read_count(result)

    async def promote(self, *, busy: bool = False, host: UUID | None = None) -> Promotion:
        """Make up to PROMOTE_LIMIT due jobs claimable.

        In the same transaction, list the `busy` queues and look for the invitation of `host`.
        """
        calls = [Call(_PROMOTE, (binary.pack_int4(PROMOTE_LIMIT),))]
        if host is not None:
            calls.append(Call(_LOOK, (host.bytes,)))
        if busy:
            calls += [Call(_DEAD), Call(_BUSY), Call(_DEAD)]
        promoted, *asked = map(binary.read_rows, await self._claims.run(*calls))
        ((queues, count, next_s),) = promoted
        invited = [token for (token,) in asked.pop(0)] if host is not None else []
        ((before,),), found, ((after,),) = asked if busy else ([(0,)], [], [(0,)])
        return Promotion(
            queues=queues or [],
            count=count,
            next_s=None if next_s is None else max(next_s, 0.0),
            busy=[queue for (queue,) in found],
            dead=after - before,
            invited=invited[0] if invited else None,
        )

    async def cancelled(self, leases: Sequence[Lease]) -> set[bytes]:
        """Tell the ids of those jobs that somebody wants cancelled."""
        (result,) = await self._claims.run(
            Call(
                _CANCELLED,
                (
                    binary.uuid_array([lease.user_id for lease in leases]),
                    binary.uuid_array([lease.id for lease in leases]),
                ),
            )
        )
        return {id_ for (id_,) in binary.read_rows(result)}

    async def settle(self, ended: Sequence[Ended], *, worker_id: UUID) -> Settlement:
        """Record the ends of runs in one transaction, save of those that moved.

        A run that was to go back while its job was cancelled is left as it is, and must be settled
        as cancelled.
        """
        ordered = sorted(ended, key=_lock_order)
        over = [end for end in ordered if end.outcome in _TERMINAL]
        back = (
            [end for end in ordered if end.outcome not in _TERMINAL]
            if len(over) < len(ordered)
            else []
        )
        calls: list[Call] = []
        if len(over) == 1:
            calls.append(Call(_FINISH_ONE, _finish_one_parameters(over[0])))
        elif over and None not in (spots := [end.lease.spot for end in over]):
            at = binary.tid_array(cast("list[bytes]", spots))
            calls.append(Call(_FINISH_AT, (*_finish_parameters(over), at)))
        elif over:
            calls.append(Call(_FINISH, _finish_parameters(over)))
        if back:
            calls.append(Call(_REQUEUE, _requeue_parameters(back, worker_id)))
        results = await self._settlements.run(*calls)
        settled = _read_settled(results[0], over) if over else set[bytes]()
        moved = (
            [_lose_spot(end) for end in over if end.lease.id not in settled]
            if len(settled) < len(over) and calls[0].statement is _FINISH_AT
            else []
        )
        cancelled: set[bytes] = set()
        for id_, flagged in binary.read_rows(results[-1]) if back else ():
            (cancelled if flagged else settled).add(id_)
        return Settlement(settled=settled, cancelled=cancelled, moved=moved)

    async def payload(self, lease: Lease) -> bytes:
        """Read the payload of one leased job.

        Raises:
            StatementError: PostgreSQL cannot make text of it.
            ValueError: it is larger than PAYLOAD_LIMIT, or the lease was lost.
            UnavailableError: PostgreSQL is away.
        """
        (result,) = await self._settlements.run(
            Call(
                _PAYLOAD,
                (
                    lease.user_id,
                    lease.id,
                    binary.pack_int8(lease.token),
                    binary.pack_int4(PAYLOAD_LIMIT),
                ),
            )
        )
        if not result.ntuples:
            raise ValueError("the lease was lost")
        payload = result.get_value(0, 1)
        if payload is None:
            size = binary.read_int4(result.get_value(0, 0) or b"")
            raise ValueError(f"it has {size:,} bytes, more than {PAYLOAD_LIMIT:,}")
        return payload


def _read_count(result: PGresult) -> int:
    return binary.read_int8(result.get_value(0, 0) or b"")


def _read_claim(result: PGresult) -> tuple[_Rows, _Said]:
    rows = binary.read_rows(result)
    said = cast("_Said", rows[0][:_COMMON])
    return (rows if rows[0][_ID] is not None else []), said


def _read_leases(rows: _Rows, token: int, inline: int) -> list[Lease]:
    unix = binary.unix
    return [
        Lease(
            user_id=user_id,
            id=id_,
            job_id=read_uuid(id_),
            type=type_,
            queue=queue,
            attempt=attempt,
            max_attempts=max_attempts,
            timeout_s=timeout_s,
            due_at=unix(due),
            wake=_WAKES.get(wake, Wake.BACKLOG),
            traceparent=traceparent,
            # Cut off behind that: it is to be read by itself.
            payload=None if payload is not None and len(payload) > inline else payload,
            token=token,
            postponed_at=None if postponed is None else unix(postponed),
            spot=spot,
        )
        for (
            _walked,
            _share,
            _last,
            _chosen,
            _held,
            _wait_s,
            user_id,
            id_,
            type_,
            queue,
            attempt,
            max_attempts,
            timeout_s,
            due,
            wake,
            traceparent,
            payload,
            postponed,
            spot,
        ) in rows
    ]


def _read_settled(result: PGresult, over: Sequence[Ended]) -> set[bytes]:
    if len(over) == 1:
        return {over[0].lease.id} if result.ntuples else set()
    ids = result.get_value(0, 0)
    return {end.lease.id for end in over} if ids is None else set(binary.read_uuid_array(ids))


def _lose_spot(end: Ended) -> Ended:
    replace = msgspec.structs.replace
    return replace(end, lease=replace(end.lease, spot=None))


def _reached(leases: Sequence[Lease], lanes: int) -> bytes | None:
    """Tell the lowest of the last ids of each lane; None where a lane got nothing."""
    if lanes == 1:  # they are in order
        return leases[-1].id
    ends = {(lease.queue, lease.user_id): lease.id for lease in leases}
    return min(ends.values()) if len(ends) == lanes else None


def _some_lane_is_full(leases: Sequence[Lease], share: int) -> bool:
    counts = Counter((lease.user_id, lease.queue) for lease in leases)
    return max(counts.values(), default=0) >= share


def _finish_one_parameters(end: Ended) -> tuple[bytes | None, ...]:
    return (
        end.lease.user_id,
        end.lease.id,
        binary.pack_int8(end.lease.token),
        end.outcome.encode(),
        None if end.started_at is None else binary.pack_unix(end.started_at),
        binary.pack_unix(end.finished_at),
        None if end.error is None else end.error.encode(),
        None if end.result is None else binary.pack_jsonb(end.result),
    )


def _finish_parameters(over: Sequence[Ended]) -> tuple[bytes, ...]:
    return (
        binary.uuid_array([end.lease.user_id for end in over]),
        binary.uuid_array([end.lease.id for end in over]),
        binary.int8_array([end.lease.token for end in over]),
        binary.text_array([end.outcome for end in over]),
        binary.timestamptz_array_from_unix([end.started_at for end in over]),
        binary.timestamptz_array_from_unix([end.finished_at for end in over]),
        binary.text_array(_unless_all_none([end.error for end in over])),
        binary.jsonb_array(_unless_all_none([end.result for end in over])),
    )


def _unless_all_none(values: list[Value | None]) -> list[Value | None]:
    """Leave a column empty that says nothing: PostgreSQL fills shorter arrays up with NULLs."""
    return [] if values.count(None) == len(values) else values


def _requeue_parameters(back: Sequence[Ended], worker_id: UUID) -> tuple[bytes, ...]:
    return (
        binary.uuid_array([end.lease.user_id for end in back]),
        binary.uuid_array([end.lease.id for end in back]),
        binary.int8_array([end.lease.token for end in back]),
        binary.text_array([end.outcome for end in back]),
        binary.timestamptz_array_from_unix([end.started_at for end in back]),
        binary.timestamptz_array_from_unix([end.finished_at for end in back]),
        binary.text_array([end.error for end in back]),
        binary.float8_array([end.delay_s for end in back]),
        binary.text_array([_NEXT_WAKE.get(end.outcome) for end in back]),
        binary.int4_array([end.lease.attempt for end in back]),
        binary.uuid_array([worker_id.bytes for _ in back]),
        binary.text_array([end.lease.wake.value for end in back]),
    )
