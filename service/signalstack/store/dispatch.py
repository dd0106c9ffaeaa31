"""The worker's statements: claim, promote, settle; rows in and out in binary."""

from __future__ import annotations

from time import perf_counter, time
from typing import TYPE_CHECKING, Final, cast

import msgspec

from signalstack.core.stage import Closed
from signalstack.store import binary, claims, outcomes
from signalstack.store.claims import NIL
from signalstack.store.link import Call, Statement
from signalstack.store.outcomes import Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from psycopg.pq.abc import PGresult

    from signalstack.core.job import Wake
    from signalstack.store.claims import Claim, Lease
    from signalstack.store.link import Link
    from signalstack.store.outcomes import Ended

_START: Final = b"{}"  # where claim.sql goes on in each queue: nowhere yet
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
# A lost claim is only a claim to be made again, so its commit need not wait for the disk. One that
# takes too long is told from a server that is gone: it ends before its link gives it up.
CLAIM_SESSION: Final = {**SESSION, "synchronous_commit": "off", "statement_timeout": "9s"}


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


class Disowned(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs wait again, and which were cancelled meanwhile and are over."""

    count: int
    closed: list[Closed]


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

        A `plain` claim costs half, begins at the first lane whatever `cursor` says, leaves lanes
        with limits alone, and looks at ids from `since` on. One that `follows` another costs less
        still, but when it finds nothing, it does not know of lanes that it left alone. One that is
        `counted` tells how many dead entries it stepped over. Small payloads come along unless
        `with_payloads` is False.
        """
        inline = min(INLINE_BYTES, CLAIM_BYTES // limit) if with_payloads else 0
        parameters = (
            binary.text_array(queues),
            NIL if plain or follows else _START if cursor == NIL else cursor,
            binary.pack_int4(limit),
            binary.pack_int4(lanes),
            worker_id.bytes,
            binary.pack_int8(token),
            cause.value.encode(),
            binary.pack_int4(inline),
        )
        dead = None
        if follows:
            call = Call(_CLAIM_NEXT, (*parameters, since))
            _, result = await self._claims.run(Call(_DO_NOT_SORT), call)
            rows, said = claims.read_next(result)
        elif plain and since != NIL:
            call = Call(_CLAIM_NEW, (*parameters, since))
            _, result = await self._claims.run(Call(_DO_NOT_SORT), call)
            rows, said = claims.read_claim(result)
        else:
            call = Call(_CLAIM_PLAIN if plain else _CLAIM, parameters)
            if counted:
                before, result, after = await self._claims.run(Call(_DEAD), call, Call(_DEAD))
                dead = _read_count(after) - _read_count(before)
            else:
                (result,) = await self._claims.run(call)
            rows, said = claims.read_claim(result)
        return claims.make_claim(rows, said, token=token, inline=inline, lanes=lanes, dead=dead)

    async def disown(self, tokens: Sequence[int]) -> Disowned:
        """Give back what claims with these tokens leased, if anything; end what was cancelled."""
        (result,) = await self._claims.run(Call(_DISOWN, (binary.int8_array(tokens),)))
        ((count, closed, _),) = binary.read_rows(result)
        return Disowned(count=count, closed=msgspec.json.decode(closed, type=list[Closed]))

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
        ordered = sorted(ended, key=outcomes.lock_order)
        over = [end for end in ordered if end.outcome in outcomes.TERMINAL]
        back = (
            [end for end in ordered if end.outcome not in outcomes.TERMINAL]
            if len(over) < len(ordered)
            else []
        )
        calls: list[Call] = []
        if len(over) == 1:
            calls.append(Call(_FINISH_ONE, outcomes.finish_one_parameters(over[0])))
        elif over and None not in (spots := [end.lease.spot for end in over]):
            at = binary.tid_array(cast("list[bytes]", spots))
            calls.append(Call(_FINISH_AT, (*outcomes.finish_parameters(over), at)))
        elif over:
            calls.append(Call(_FINISH, outcomes.finish_parameters(over)))
        if back:
            calls.append(Call(_REQUEUE, outcomes.requeue_parameters(back, worker_id)))
        results = await self._settlements.run(*calls)
        settled = outcomes.read_settled(results[0], over) if over else set[bytes]()
        moved = (
            [outcomes.lose_spot(end) for end in over if end.lease.id not in settled]
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
