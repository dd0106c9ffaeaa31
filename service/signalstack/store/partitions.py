"""The partitions of events, finished jobs and attempts: made, looked through, and dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from signalstack.store.query import Query, fetch_all, fetch_one, fetch_value

if TYPE_CHECKING:
    from signalstack.store.query import Connection

# How many days ahead have theirs, and what making one may take: others queue up behind its locks.
DAYS: Final = 3
LOCK_S: Final = 0.2
STATEMENT_S: Final = 1.0

Action = Literal["look", "remove", "carry"]


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A partition that should be there: of which table, and for which day (ISO 8601)."""

    name: str
    day: str


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """A partition, or what was one: `age_s` is since its day began, None for a default one.

    `blocks` is its size, `estimate` its rows as the server last counted them.
    """

    parent: str
    child: str
    attached: bool
    age_s: float | None
    blocks: int
    estimate: int


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """How many seconds what is kept; `inf` is for ever.

    Jobs from their end, by status; events and messages from when they came.
    """

    succeeded_s: float
    failed_s: float
    cancelled_s: float
    events_s: float
    messages_s: float


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows of a piece are over, how many are not, and when the first of those will be."""

    expired: int
    kept: int
    next_s: float | None


_MISSING: Final = Query("maintenance/missing_partitions", Missing)
_MAKE: Final = Query("maintenance/make_partition", bool)
_LIST: Final = Query("maintenance/partitions", Partition)
_PRUNE: Final = Query("maintenance/prune", Pruned)
_DETACH: Final = Query("maintenance/detach_partition", bool)
_DROP: Final = Query("maintenance/drop_detached", bool)


async def missing(conn: Connection, *, days: int) -> list[Missing]:
    """List what today and so many days ahead lack, the nearest first."""
    return await fetch_all(conn, _MISSING, days=days)


async def make(conn: Connection, wanted: Missing) -> bool:
    """Make one; False when it is there, or the default one holds rows of that day."""
    return bool(await fetch_value(conn, _MAKE, parent=wanted.name, day=wanted.day))


async def list_all(conn: Connection) -> list[Partition]:
    """List those that there are, in the order in which they are to be pruned."""
    return await fetch_all(conn, _LIST)


async def prune(
    conn: Connection, partition: Partition, keep: Keep, *, first: int, blocks: int, action: Action
) -> Pruned:
    """Go through some blocks: look at them, remove what is over, or carry on what is not."""
    done = await fetch_one(
        conn,
        _PRUNE,
        parent=partition.parent,
        child=partition.child,
        first=first,
        blocks=blocks,
        action=action,
        succeeded_s=keep.succeeded_s,
        failed_s=keep.failed_s,
        cancelled_s=keep.cancelled_s,
        events_s=keep.events_s,
    )
    return done or Pruned(expired=0, kept=0, next_s=None)


async def detach(conn: Connection, partition: Partition) -> bool:
    """Take one out of its table; False when another leader has done so."""
    found = await fetch_value(conn, _DETACH, parent=partition.parent, child=partition.child)
    return bool(found)


async def drop(conn: Connection, partition: Partition) -> bool:
    """Drop one that is detached."""
    return bool(await fetch_value(conn, _DROP, child=partition.child))
