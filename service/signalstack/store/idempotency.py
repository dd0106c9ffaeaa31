"""Table idempotency, for reading; what writes to it is in `writes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.store.query import Query, fetch_one
from signalstack.store.writes import Owner

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.store.query import Connection
    from signalstack.store.writes import Key

_FIND: Final = Query("idempotency/find", Owner)


async def find(conn: Connection, *, user_id: UUID, key: Key) -> Owner | None:
    """Find who owns a key of the tenant's now; the connection must be bound to nobody."""
    return await fetch_one(conn, _FIND, user_id=user_id, route=key.route, key=key.key)
