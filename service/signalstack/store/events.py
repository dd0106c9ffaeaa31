"""Table events, for reading."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID  # noqa: TC003 - msgspec reads the annotation

from signalstack.core.event import Event
from signalstack.core.ids import HIGHEST, id_span
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
_SKEW: Final = timedelta(hours=1)


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
    first, last = id_span(created_after, created_before, skew=_SKEW)
    filters = {
        "user_id": user_id,
        "first": first,
        "last": min(last, before or HIGHEST),
        "created_after": created_after,
        "created_before": created_before,
        "limit": limit,
    }
    if type_ is None:
        return await fetch_all(conn, _LIST, **filters)
    return await fetch_all(conn, _LIST_OF_TYPE, type=type_, **filters)
