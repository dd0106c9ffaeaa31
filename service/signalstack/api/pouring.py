"""A response that comes bit by bit: sent as it is made, until either side has had enough."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.api.problems import DisconnectedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from anyio.abc import TaskGroup
    from starlette.types import Receive, Send

# A caller that takes nothing for so long is as good as gone.
SEND_S: Final = 30.0


async def pour(
    chunks: AsyncGenerator[bytes],
    receive: Receive,
    send: Send,
    *,
    status: int,
    headers: Sequence[tuple[bytes, bytes]],
    hide_body: bool,
) -> None:
    """Send a response whose body are these chunks; the generator is closed in any case.

    Raises:
        DisconnectedError: the caller left, or takes nothing any more.
    """
    async with aclosing(chunks):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        if hide_body:
            await send({"type": "http.response.body", "body": b""})
            return
        if not await _pour(chunks, receive, send):
            raise DisconnectedError


async def _pour(chunks: AsyncGenerator[bytes], receive: Receive, send: Send) -> bool:
    """Send the chunks; tell whether the caller was there until the end."""
    complete = False

    async def watch_caller(tasks: TaskGroup) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_caller, tasks)
        async for chunk in chunks:
            if not await _send_in_time(send, chunk, more=True):
                break
        else:
            complete = await _send_in_time(send, b"", more=False)
        tasks.cancel_scope.cancel()
    return complete


async def _send_in_time(send: Send, chunk: bytes, *, more: bool) -> bool:
    with anyio.move_on_after(SEND_S):
        await send({"type": "http.response.body", "body": chunk, "more_body": more})
        return True
    return False
