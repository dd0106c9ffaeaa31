"""Owns the way out of a statement when its task is cancelled: end it on the server, keep the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio
import psycopg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import AsyncConnection

_CANCEL_DEADLINE_S: Final = 5.0


async def interruptible(conn: AsyncConnection[Any], work: Callable[[], Awaitable[None]]) -> None:
    """Await `work` on `conn`; when cancelled, cancel its statement on the server and see it end.

    AnyIO tells a task of its cancellation again at every step. psycopg then gives up waiting, closes
    the connection and leaves the statement running; so the work is shielded from it.
    """
    failure: BaseException | None = None

    async def shielded() -> None:
        nonlocal failure
        with anyio.CancelScope(shield=True):
            try:
                await work()
            except (psycopg.Error, anyio.get_cancelled_exc_class()) as error:
                failure = error
        done.set()

    done = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(shielded)
        try:
            await done.wait()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await conn.cancel_safe(timeout=_CANCEL_DEADLINE_S)
            raise
    if failure:
        raise failure
