"""Table events, for reading."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from signalstack.core.event import Event
from signalstack.core.ids import id_floor
from signalstack.store.query import Query, fetch_all, fetch_one

if TYPE_CHECKING:
    from datetime import datetime

    from signalstack.store.query import Connection


class StoredEvent(Event, frozen=True, kw_only=True):
    """An event with the ids of the jobs that it became."""

    job_ids: list[UUID]


_GET: Final = Query("events/get", StoredEvent)
_LIST: Final = Query("events/list", Event)
_LIST_OF_TYPE: Final = Query("events/list_of_type", Event)
# An id carries the clock of the process that took the event in, `created_at` the database's.
_SKEW: Final = timedelta(hours=1)
_LOWEST: Final = UUID(int=0)
_HIGHEST: Final = UUID(int=2**128 - 1)


async def get(conn: Connection, *, user_id: UUID, event_id: UUID) -> StoredEvent | None:
    """Find one of the tenant's events."""
    return await fetch_one(conn, _GET, user_id=user_id, id=event_id)


async def list_page(
    conn: Connection,
    *,
    user_id: UUID,
    type_: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
    before: UUID | None,
    limit: int,
) -> list[Event]:
    """List the tenant's events with ids below `before`, newest first."""
    last = before or _HIGHEST
    if created_before is not None:
        last = min(last, id_floor(created_before, _SKEW))
    filters = {
        "user_id": user_id,
        "first": _LOWEST if created_after is None else id_floor(created_after, -_SKEW),
        "last": last,
        "created_after": created_after,
        "created_before": created_before,
        "limit": limit,
    }
    if type_ is None:
        return await fetch_all(conn, _LIST, **filters)
    return await fetch_all(conn, _LIST_OF_TYPE, type=type_, **filters)
