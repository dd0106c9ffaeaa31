"""Table queues: which queues there are, how a tenant's part of each stands, and its limits."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.endpoint_config import Rate
from signalstack.core.queue import Limits, Queue
from signalstack.store.query import Query, execute, fetch_all, fetch_one, fetch_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signalstack.store.query import Connection

# How many jobs one answer may cost: an index entry and a row each.
BUDGET: Final = 100_000


class _LimitsRow(msgspec.Struct, frozen=True, kw_only=True):
    """Limits as the database has them."""

    concurrency: int | None
    rate_limit: int | None
    rate_per_s: float | None
    rate_burst: int | None

    @property
    def rate(self) -> Rate | None:
        if self.rate_limit is None or self.rate_per_s is None:
            return None
        return Rate(limit=self.rate_limit, per_s=self.rate_per_s, burst=self.rate_burst)


class _QueueRow(_LimitsRow, frozen=True, kw_only=True):
    """Queue as the database has it."""

    name: str
    paused: bool
    depth: int
    depth_exact: bool
    oldest_age_s: float | None
    running: int


class PaceRow(_LimitsRow, frozen=True, kw_only=True):
    """How an operator's queue goes for a tenant; `wait_s` is until the next job may start."""

    paused: bool
    since: datetime
    read_at: datetime
    wait_s: float


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs began to count in their queue, and how many did so before."""

    marked: int
    counted: int


_KNOWN: Final = Query("queues/known", set[str])
_DECLARE: Final = Query("queues/declare", int)
_LOOK: Final = Query("queues/look", _QueueRow)
_HOLD_TENANT: Final = Query("queues/hold_tenant", UUID)
_COUNT: Final = Query("queues/count", int)
_MAKE: Final = Query("queues/make", int)
_LOCK: Final = Query("queues/lock", _LimitsRow)
_MARK: Final = Query("queues/mark", Marked)
_LIMIT: Final = Query("queues/limit", int)
_READERS: Final = Query("queues/readers", set[str])
_RECOUNT: Final = Query("queues/recount", int)
_PAUSE: Final = Query("queues/pause", int)
_GOVERN: Final = Query("queues/govern", int)
_HOLD: Final = Query("queues/hold", int)
_PACE: Final = Query("queues/pace", PaceRow)


async def known(conn: Connection, *, user_id: UUID) -> set[str]:
    """Name the queues that the tenant may use: the operator's and its own."""
    return await fetch_value(conn, _KNOWN, user_id=user_id) or set()


async def declare(conn: Connection, *, names: Iterable[str]) -> int:
    """Open queues to every tenant; tell how many of them are new."""
    return await execute(conn, _DECLARE, names=list(names))


async def look(
    conn: Connection, *, user_id: UUID, name: str | None = None, budget: int = BUDGET
) -> list[Queue]:
    """Tell how the tenant's queues stand, by name; or the one of that name, if there is one."""
    rows = await fetch_all(conn, _LOOK, user_id=user_id, name=name, budget=budget)
    return [
        Queue(
            name=row.name,
            depth=row.depth,
            depth_exact=row.depth_exact,
            oldest_age_s=row.oldest_age_s,
            running=row.running,
            paused=row.paused,
            concurrency=row.concurrency,
            rate=row.rate,
        )
        for row in rows
    ]


async def count_made(conn: Connection, *, user_id: UUID) -> int:
    """Count the tenant's own queues, and keep others from making one until commit."""
    await fetch_value(conn, _HOLD_TENANT, user_id=user_id)
    # A statement of its own: it must see what was committed while the first one waited.
    return await fetch_value(conn, _COUNT, user_id=user_id) or 0


async def make(conn: Connection, *, user_id: UUID, name: str) -> None:
    """Make a queue the tenant's own, if it is not yet."""
    await execute(conn, _MAKE, user_id=user_id, name=name)


async def lock(conn: Connection, *, user_id: UUID, name: str) -> Limits | None:
    """Hold a queue of the tenant's own until commit; None when it has no such queue."""
    row = await fetch_one(conn, _LOCK, user_id=user_id, name=name)
    return None if row is None else Limits(concurrency=row.concurrency, rate=row.rate)


async def mark_running(conn: Connection, *, user_id: UUID, name: str) -> Marked:
    """Have all runs of a queue count in it from now on."""
    marked = await fetch_one(conn, _MARK, user_id=user_id, name=name)
    return marked or Marked(marked=0, counted=0)


async def readers(conn: Connection) -> set[str]:
    """Name the other transactions that may go by what queues said when they began."""
    return await fetch_value(conn, _READERS) or set()


async def limit(
    conn: Connection, *, user_id: UUID, name: str, limits: Limits, running: int | None
) -> None:
    """Set the limits of a queue, and how many of its runs count unless `running` is None."""
    rate = limits.rate
    await fetch_value(
        conn,
        _LIMIT,
        user_id=user_id,
        name=name,
        concurrency=limits.concurrency,
        rate_limit=None if rate is None else rate.limit,
        rate_per_s=None if rate is None else rate.per_s,
        rate_burst=None if rate is None else (rate.burst or rate.limit),
        running=running,
    )


async def recount(conn: Connection, *, user_id: UUID, name: str, running: int) -> None:
    """Set how many runs of a queue count in it."""
    await fetch_value(conn, _RECOUNT, user_id=user_id, name=name, running=running)


async def pause(conn: Connection, *, user_id: UUID, name: str, paused: bool) -> None:
    """Pause or resume a queue of the tenant's own."""
    await fetch_value(conn, _PAUSE, user_id=user_id, name=name, paused=paused)


async def govern(conn: Connection, *, name: str, limits: Limits) -> None:
    """Limit an operator's queue for all tenants together; it is made when there is none."""
    rate = limits.rate
    await fetch_value(
        conn,
        _GOVERN,
        name=name,
        concurrency=limits.concurrency,
        rate_limit=None if rate is None else rate.limit,
        rate_per_s=None if rate is None else rate.per_s,
        rate_burst=None if rate is None else (rate.burst or rate.limit),
    )


async def hold(conn: Connection, *, name: str, hold_s: float) -> None:
    """Let no job of an operator's queue that has a rate start for so many seconds."""
    await execute(conn, _HOLD, name=name, hold_s=hold_s)


async def pace(conn: Connection, *, user_id: UUID, name: str) -> PaceRow | None:
    """Tell how an operator's queue goes for a tenant; None when there is no such queue."""
    return await fetch_one(conn, _PACE, user_id=user_id, name=name)
