"""Table queues: which queues there are, for everybody and for one tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.store.query import Query, execute, fetch_value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from signalstack.store.query import Connection

_KNOWN: Final = Query("queues/known", set[str])
_DECLARE: Final = Query("queues/declare", int)


async def known(conn: Connection, *, user_id: UUID) -> set[str]:
    """Name the queues that the tenant may use: the operator's and its own."""
    return await fetch_value(conn, _KNOWN, user_id=user_id) or set()


async def declare(conn: Connection, *, names: Iterable[str]) -> int:
    """Open queues to every tenant; tell how many of them are new."""
    return await execute(conn, _DECLARE, names=list(names))
