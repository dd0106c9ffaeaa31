"""Owns the way out of a long statement: when its task is cancelled, it is ended on the server."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import psycopg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import AsyncConnection

_CANCEL_DEADLINE_S: Final = 5.0
_CANCEL_PAUSE_S: Final = 1.0


async def interruptible(conn: AsyncConnection[Any], work: Callable[[], Awaitable[None]]) -> None:
    """Await `work` on `conn`; when cancelled, cancel its statement on the server and see it end.

    AnyIO tells a cancelled task so at every step. psycopg would give up waiting, close the
    connection and leave the statement running; so the work itself is shielded.
    """
    failure: psycopg.Error | None = None
    done = anyio.Event()

    async def shielded() -> None:
        nonlocal failure
        with anyio.CancelScope(shield=True):
            try:
                await work()
            except psycopg.Error as error:
                failure = error
        done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(shielded)
        try:
            await done.wait()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await _end(conn, done)
            raise
    if failure:
        raise failure


async def _end(conn: AsyncConnection[Any], done: anyio.Event) -> None:
    """Cancel statements until the work gives up: the first try may fall between two of them."""
    while not done.is_set():
        with suppress(psycopg.Error):
            await conn.cancel_safe(timeout=_CANCEL_DEADLINE_S)
        with anyio.move_on_after(_CANCEL_PAUSE_S):
            await done.wait()
