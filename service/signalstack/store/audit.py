"""Table audit_log: who did what to keys and configuration; its rows are written by triggers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core import actor
from signalstack.store.query import Query, execute, fetch_all

if TYPE_CHECKING:
    from signalstack.store.query import Connection


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One act; of a change the columns, never what is in them."""

    at: datetime
    user_name: str | None
    actor: str
    act: str
    object: str
    columns: list[str]


_SIGN: Final = Query("audit/sign", str)
_LIST: Final = Query("audit/list", Act)
_FORGET: Final = Query("audit/forget", int)


async def sign(conn: Connection) -> None:
    """Put down to the current actor what the transaction does from here on."""
    await execute(conn, _SIGN, actor=actor.current())


async def list_newest(
    conn: Connection, *, user_name: str | None, since_s: float | None, limit: int
) -> list[Act]:
    """List acts, newest first."""
    return await fetch_all(conn, _LIST, user_name=user_name, since_s=since_s, limit=limit)


async def forget(conn: Connection, *, keep_s: float, limit: int) -> int:
    """Forget up to `limit` acts that are older than `keep_s` seconds; returns how many."""
    return await execute(conn, _FORGET, keep_s=keep_s, limit=limit)
