"""A job type that runs until the test lets it end: it knocks at a gate that the test keeps.

Processes under test load the handler when they are started with the variables `WITH_GATE`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
from anyio.abc import SocketAttribute, SocketStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from signalstack.core.handler import Context

# What a process has to be given to know the job type.
WITH_GATE: Final = {
    "SIGNALSTACK_HANDLERS": "gate:HANDLERS",
    "PYTHONPATH": str(Path(__file__).parent),
}
_PATIENCE_S: Final = 20.0


class Hold(msgspec.Struct, kw_only=True):
    """Where the gate is."""

    port: int


async def hold(payload: Hold, context: Context) -> str:
    """Knock, wait, and say which run this was."""
    async with await anyio.connect_tcp("127.0.0.1", payload.port) as stream:
        await stream.receive(1)
    return f"let go in attempt {context.attempt}"


HANDLERS: Final = {"hold": hold}


class Gate:
    """Where runs knock, one after the other."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._knocks, self._waiting = anyio.create_memory_object_stream[SocketStream](10)

    async def knocked(self) -> SocketStream:
        """Wait until a run has begun; send it a byte to let it end."""
        with anyio.fail_after(_PATIENCE_S):
            return await self._waiting.receive()

    async def keep(self, run: SocketStream) -> None:
        """Take a run in, and hang up when the gate is closed."""
        async with run:
            await self._knocks.send(run)
            await anyio.sleep_forever()

    def close(self) -> None:
        """Let nobody in any more."""
        self._knocks.close()
        self._waiting.close()


@asynccontextmanager
async def open_gate() -> AsyncGenerator[Gate]:
    """Keep a gate on loopback until the block ends; runs that still wait then end by an error."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port: int = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    gate = Gate(port)
    try:
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, gate.keep)
            yield gate
            tasks.cancel_scope.cancel()
    finally:
        gate.close()
