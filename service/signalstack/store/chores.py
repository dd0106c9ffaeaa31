"""What the maintenance leader does in the database: lead, rescue, sum up, forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core.stage import Closed
from signalstack.store.query import Query, execute, fetch_one

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.store.query import Connection


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The term that one leads (None: another one does), and what ends when, in seconds from now.

    `lease_left_s` is what is left of another leader's lease, `next_end_s` that of the worker whose
    lease ends first; None when there is none.
    """

    term: int | None
    lease_left_s: float | None
    next_end_s: float | None


class Rescue(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead workers were found, and what became of the jobs that they ran.

    `closed` parts those that are over (`failed` of them) by queue, type and outcome; there may be
    `more` to take back.
    """

    workers: int
    rescued: int
    failed: int
    bells: int
    more: bool = False
    closed: tuple[Closed, ...] = ()


class _RescueRow(msgspec.Struct, frozen=True, kw_only=True):
    workers: int
    rescued: int
    failed: int
    bells: int
    more: bool
    closed: msgspec.Raw


class RolledUp(msgspec.Struct, frozen=True, kw_only=True):
    """How many deltas were summed up."""

    rolled: int


class _Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits that hold from now on."""

    lock_timeout: str
    statement_timeout: str
    enable_seqscan: str
    jit: str


_LEAD: Final = Query("maintenance/lead", Standing)
_RESIGN: Final = Query("maintenance/resign", int)
_RESCUE: Final = Query("maintenance/rescue", _RescueRow)
_ROLL_UP: Final = Query("maintenance/roll_up", RolledUp)
_EXPIRE: Final = Query("maintenance/expire_idempotency", int)

_HURRY: Final = Query("maintenance/hurry", _Limits)

_LOST: Final = "the worker that ran this job died or lost its lease"


async def lead(conn: Connection, *, holder: UUID, lease_s: float) -> Standing:
    """Take or renew the leadership, unless another process has it."""
    standing = await fetch_one(conn, _LEAD, holder=holder, lease_s=lease_s)
    return standing or Standing(term=None, lease_left_s=None, next_end_s=None)


async def resign(conn: Connection, *, holder: UUID) -> None:
    """Give the leadership up."""
    await execute(conn, _RESIGN, holder=holder)


async def rescue(conn: Connection, *, orphans: bool, limit: int = 2_000) -> Rescue:
    """Take back up to `limit` jobs of dead workers; with `orphans` also those of unknown ones.

    The dead are unknown from then on, so what is left of theirs is found as orphans.
    """
    done = await fetch_one(conn, _RESCUE, orphans=orphans, error=_LOST, limit=limit)
    if done is None:
        return Rescue(workers=0, rescued=0, failed=0, bells=0)
    return Rescue(
        workers=done.workers,
        rescued=done.rescued,
        failed=done.failed,
        bells=done.bells,
        more=done.more,
        closed=msgspec.json.decode(done.closed, type=tuple[Closed, ...]),
    )


async def roll_up(conn: Connection, *, limit: int) -> int:
    """Sum up to `limit` deltas; returns how many there were."""
    done = await fetch_one(conn, _ROLL_UP, limit=limit)
    return 0 if done is None else done.rolled


async def expire_idempotency(conn: Connection, *, limit: int) -> int:
    """Forget up to `limit` idempotency keys that are over; returns how many there were."""
    return await execute(conn, _EXPIRE, limit=limit)


async def hurry(conn: Connection, *, lock_s: float, statement_s: float) -> None:
    """Shorten what the rest of this transaction may wait for locks and run."""
    await fetch_one(
        conn,
        _HURRY,
        lock_ms=str(round(lock_s * 1_000)),
        statement_ms=str(round(statement_s * 1_000)),
    )
