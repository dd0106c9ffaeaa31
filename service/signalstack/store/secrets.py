"""Table secrets: what all processes must know alike; made by the migration, never logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core.errors import SchemaError
from signalstack.store.query import Query, fetch_value

if TYPE_CHECKING:
    from signalstack.store.query import Connection

CURSORS: Final = "cursors"
_GET: Final = Query("secrets/get", bytes)


async def get(conn: Connection, *, name: str) -> bytes:
    """Read a secret.

    Raises:
        SchemaError: somebody deleted it.
    """
    found = await fetch_value(conn, _GET, name=name)
    if found is None:
        raise SchemaError(f"the row {name!r} of signalstack.secrets is gone; bring it back")
    return found
