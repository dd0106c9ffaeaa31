"""Table users: tenants, and the version of each one's subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from signalstack.store.query import Query, fetch_value

if TYPE_CHECKING:
    from signalstack.store.query import Connection

_CREATE: Final = Query("users/create", UUID)
_FIND_BY_NAME: Final = Query("users/find_by_name", UUID)
_BUMP: Final = Query("users/bump_subscriptions_version", int)


async def ensure(conn: Connection, *, name: str, new_id: UUID) -> UUID:
    """Find the tenant of that name, or make it with the id given; return its id."""
    found = await fetch_value(conn, _FIND_BY_NAME, name=name)
    if found is None:
        found = await fetch_value(conn, _CREATE, id=new_id, name=name)
    if found is None:
        # Someone else made it in between, so now it can be found.
        found = await fetch_value(conn, _FIND_BY_NAME, name=name)
    if found is None:
        raise LookupError(name)
    return found


async def find_by_name(conn: Connection, *, name: str) -> UUID | None:
    """Find the tenant of that name."""
    return await fetch_value(conn, _FIND_BY_NAME, name=name)


async def bump_subscriptions_version(conn: Connection, *, user_id: UUID) -> int | None:
    """Count a change of the tenant's subscriptions and keep others from changing them until commit.

    None when there is no such tenant.
    """
    return await fetch_value(conn, _BUMP, user_id=user_id)
