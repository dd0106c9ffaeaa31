"""Table events, for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID  # noqa: TC003 - msgspec reads the annotation below when it fills a row

from signalstack.core.event import Event
from signalstack.store.query import Query, fetch_one

if TYPE_CHECKING:
    from signalstack.store.query import Connection


class StoredEvent(Event, frozen=True, kw_only=True):
    """An event with the ids of the jobs that it became."""

    job_ids: list[UUID]


_GET: Final = Query("events/get", StoredEvent)


async def get(conn: Connection, *, user_id: UUID, event_id: UUID) -> StoredEvent | None:
    """Find one of the tenant's events."""
    return await fetch_one(conn, _GET, user_id=user_id, id=event_id)
