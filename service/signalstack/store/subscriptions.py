"""Table subscriptions: what tenants want made of which events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from psycopg.errors import UniqueViolation

from signalstack.core.errors import ConflictError
from signalstack.core.subscription import JobTemplate, MatchingSubscription, Subscription
from signalstack.store.query import Query, execute, fetch_all, fetch_one

if TYPE_CHECKING:
    from signalstack.core.subscription import SubscriptionChange, SubscriptionRequest
    from signalstack.store.query import Connection


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """How many subscriptions there are, and the bytes of their filters and jobs."""

    count: int
    size: int


class _MatchingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's version beside one of its active subscriptions, or beside none."""

    version: int
    id: UUID | None
    event_type: str | None
    filter: msgspec.Raw
    job: msgspec.Raw


_INSERT: Final = Query("subscriptions/insert", Subscription)
_WEIGH: Final = Query("subscriptions/weigh", Weight)
_LIST: Final = Query("subscriptions/list", Subscription)
_GET: Final = Query("subscriptions/get", Subscription)
_UPDATE: Final = Query("subscriptions/update", Subscription)
_DELETE: Final = Query("subscriptions/delete", int)
_LOAD: Final = Query("subscriptions/load_for_matching", _MatchingRow)
_read_filter: Final = msgspec.json.Decoder(dict[str, Any] | None).decode
_read_job: Final = msgspec.json.Decoder(JobTemplate).decode


async def insert(
    conn: Connection, *, user_id: UUID, subscription_id: UUID, request: SubscriptionRequest
) -> Subscription | None:
    """Store a new subscription; None when the tenant has one of that name."""
    wanted = request.filter
    return await fetch_one(
        conn,
        _INSERT,
        id=subscription_id,
        user_id=user_id,
        name=request.name,
        event_type=request.event_type,
        filter=None if wanted is None else msgspec.json.encode(wanted).decode(),
        job=msgspec.json.encode(request.job).decode(),
        active=request.active,
    )


async def weigh(conn: Connection, *, user_id: UUID) -> Weight:
    """Tell how many subscriptions the tenant has, and how large they are."""
    return await fetch_one(conn, _WEIGH, user_id=user_id) or Weight(count=0, size=0)


async def list_page(
    conn: Connection, *, user_id: UUID, after: UUID | None, limit: int
) -> list[Subscription]:
    """List the tenant's subscriptions with ids above `after`, oldest first."""
    return await fetch_all(conn, _LIST, user_id=user_id, after=after, limit=limit)


async def get(conn: Connection, *, user_id: UUID, subscription_id: UUID) -> Subscription | None:
    """Find one of the tenant's subscriptions."""
    return await fetch_one(conn, _GET, user_id=user_id, id=subscription_id)


async def update(
    conn: Connection, *, user_id: UUID, subscription_id: UUID, change: SubscriptionChange
) -> Subscription | None:
    """Change what is named of one of the tenant's subscriptions; None when there is none.

    Raises:
        ConflictError: another one of the tenant's has the name.
    """
    wanted = change.filter
    try:
        return await fetch_one(
            conn,
            _UPDATE,
            id=subscription_id,
            user_id=user_id,
            name=change.name or None,
            event_type=change.event_type or None,
            set_filter=wanted is not msgspec.UNSET,
            filter=msgspec.json.encode(wanted).decode() if isinstance(wanted, dict) else None,
            job=msgspec.json.encode(change.job).decode() if change.job else None,
            active=change.active if isinstance(change.active, bool) else None,
        )
    except UniqueViolation:
        raise ConflictError(f"there is a subscription named {change.name!r} already") from None


async def delete(conn: Connection, *, user_id: UUID, subscription_id: UUID) -> bool:
    """Delete one of the tenant's subscriptions; tell whether there was one."""
    return await execute(conn, _DELETE, user_id=user_id, id=subscription_id) > 0


async def load_for_matching(
    conn: Connection, *, user_id: UUID
) -> tuple[int, list[MatchingSubscription]] | None:
    """Read the tenant's active subscriptions and their version in one snapshot; None: no tenant."""
    rows = await fetch_all(conn, _LOAD, user_id=user_id)
    if not rows:
        return None
    found = [
        MatchingSubscription(
            id=row.id,
            event_type=row.event_type,
            filter=_read_filter(row.filter),
            job=_read_job(row.job),
            source=bytes(row.filter) + bytes(row.job),
        )
        for row in rows
        if row.id is not None and row.event_type is not None
    ]
    return rows[0].version, found
