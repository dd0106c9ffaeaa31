"""A Redis of a test's own, on a socket in a folder, which can be killed and come back."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from programs import find

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import Process

PATIENCE_S: Final = 10


class RedisServer:
    """Where it is, and its process."""

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self._command = [find("redis-server"), "--port", "0", "--save", "", "--dir", str(folder)]
        self._command += ["--unixsocket", f"{folder}/redis.sock"]
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it, empty, and wait until it takes connections."""
        self._process = process = await anyio.open_process(self._command)
        assert process.stdout
        said = b""
        with anyio.fail_after(PATIENCE_S):
            while b"eady to accept connections" not in said:
                said += await process.stdout.receive()

    async def kill(self) -> None:
        """End it without a word, as a crash would."""
        if self._process is None:
            return
        self._process.kill()
        with anyio.CancelScope(shield=True):
            await self._process.aclose()
        self._process = None


@asynccontextmanager
async def redis_server() -> AsyncGenerator[RedisServer]:
    """Run a Redis until the block ends."""
    with tempfile.TemporaryDirectory(prefix="signalstack-redis-") as folder:
        server = RedisServer(Path(folder))
        await server.start()
        try:
            yield server
        finally:
            await server.kill()
