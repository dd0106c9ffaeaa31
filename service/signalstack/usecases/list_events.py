"""Listing a tenant's events, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalstack.store import events

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from signalstack.core.event import Event
    from signalstack.store.pool import Pool


async def list_events(
    pool: Pool,
    user_id: UUID,
    *,
    limit: int,
    type_: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    before: UUID | None = None,
) -> list[Event]:
    """List events with ids under `before`: of a type, created from one moment up to another."""
    async with pool.connection(user_id) as conn:
        return await events.list_page(
            conn,
            user_id=user_id,
            type_=type_,
            created_after=created_after,
            created_before=created_before,
            before=before,
            limit=limit,
        )
