"""Tables messages and message_tallies: written by triggers on jobs, read and forgotten here."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core.ids import HIGHEST, id_span
from signalstack.core.message import Message, Tally
from signalstack.store.query import Query, execute, fetch_all, fetch_one, fetch_value

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.core.message import MessageFilter
    from signalstack.store.query import Connection

# It covers a request's deadline, and clocks that are set.
_SKEW: Final = timedelta(minutes=1)


class RolledUp(msgspec.Struct, frozen=True, kw_only=True):
    """How many deltas were summed up."""

    rolled: int


_GET: Final = Query("messages/get", Message)
_LIST: Final = Query("messages/list", Message)
_BY_STATUS: Final = Query("messages/list_by_status", Message)
_BY_NUMBER: Final = Query("messages/list_by_number", Message)
_TALLY: Final = Query("messages/tally", Tally)
_LAST_ERROR: Final = Query("messages/last_error", str)
_ROLL_UP: Final = Query("messages/roll_up", RolledUp)
_FORGET: Final = Query("messages/forget", int)


async def get(conn: Connection, *, user_id: UUID, message_id: UUID) -> Message | None:
    """Find one of the tenant's messages."""
    return await fetch_one(conn, _GET, user_id=user_id, id=message_id)


async def list_page(
    conn: Connection, *, user_id: UUID, wanted: MessageFilter, below: UUID | None, limit: int
) -> list[Message]:
    """List the tenant's messages with ids under `below` that fit, newest first."""
    floor, ceiling = id_span(wanted.created_after, wanted.created_before, skew=_SKEW)
    bounds = {
        "user_id": user_id,
        "floor": floor,
        "below": min(ceiling, below or HIGHEST),
        "created_after": wanted.created_after,
        "created_before": wanted.created_before,
        "limit": limit,
    }
    status = None if wanted.status is None else wanted.status.value
    if wanted.phone_number is not None:
        return await fetch_all(
            conn, _BY_NUMBER, phone_number=wanted.phone_number, status=status, **bounds
        )
    if status is not None:
        return await fetch_all(conn, _BY_STATUS, status=status, **bounds)
    return await fetch_all(conn, _LIST, **bounds)


async def tally(conn: Connection, *, user_id: UUID) -> list[Tally]:
    """Count the tenant's messages, from the first one on, by how they stand."""
    return await fetch_all(conn, _TALLY, user_id=user_id)


async def last_error(conn: Connection, *, user_id: UUID) -> str | None:
    """Tell what went wrong last with the tenant's messages."""
    return await fetch_value(conn, _LAST_ERROR, user_id=user_id)


async def roll_up(conn: Connection, *, limit: int) -> int:
    """Sum up to `limit` deltas; returns how many there were."""
    done = await fetch_one(conn, _ROLL_UP, limit=limit)
    return 0 if done is None else done.rolled


async def forget(conn: Connection, *, keep_s: float, limit: int) -> int:
    """Forget up to `limit` messages accepted longer ago, unless they wait; returns how many."""
    return await execute(conn, _FORGET, keep_s=keep_s, limit=limit)
