"""A TCP proxy before PostgreSQL that does to its connections what networks do."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

import anyio
import pytest
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import SocketStream

_CHUNK: Final = 65_536
_RESET: Final = struct.pack("ii", 1, 0)
_LOST: Final = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)

Mode = Literal["pass", "delay", "trickle", "swallow", "refuse", "reset_answers", "mute"]


class Proxy:
    """One way to the database; `mode` holds for all its connections from the next bytes on.

    delay: bytes arrive 100 ms late. trickle: 64 bytes every 5 ms. swallow: everything is taken and
    nothing handed on. refuse: new connections are reset. reset_answers: what the client sends
    arrives, and its connection is reset in place of the answer. mute: what the client sends
    arrives, and no answer is handed on.
    """

    def __init__(self, target: str, *, host: str = "127.0.0.1") -> None:
        self.mode: Mode = "pass"
        self.host = host
        self.port = 0
        self._target = target
        self._clients: set[SocketStream] = set()

    def reset(self) -> None:
        """Reset every connection there is."""
        for client in list(self._clients):
            _reset(client)

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve on a free port for as long as the context lasts."""
        async with await anyio.create_tcp_listener(local_host=self.host) as listener:
            self.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, self._serve)
                yield
                tasks.cancel_scope.cancel()

    async def _serve(self, client: SocketStream) -> None:
        if self.mode == "refuse":
            _reset(client)
            return
        self._clients.add(client)
        try:
            with suppress(*_LOST):
                async with (
                    _Server(*await asyncio.open_unix_connection(self._target)) as server,
                    anyio.create_task_group() as tasks,
                ):
                    tasks.start_soon(self._hand_on, client, server, tasks.cancel_scope)
                    tasks.start_soon(self._hand_back, server, client, tasks.cancel_scope)
        finally:
            self._clients.discard(client)
            with anyio.CancelScope(shield=True), suppress(*_LOST):
                await client.aclose()

    async def _hand_on(
        self,
        client: SocketStream,
        server: anyio.abc.ByteStream,
        scope: anyio.CancelScope,
    ) -> None:
        with suppress(*_LOST):
            while True:
                await self._pass_on(await client.receive(_CHUNK), server)
        scope.cancel()

    async def _hand_back(
        self,
        server: anyio.abc.ByteStream,
        client: SocketStream,
        scope: anyio.CancelScope,
    ) -> None:
        with suppress(*_LOST):
            while True:
                data = await server.receive(_CHUNK)
                if self.mode == "mute":
                    continue
                if self.mode == "reset_answers":
                    _reset(client)
                    break
                await self._pass_on(data, client)
        scope.cancel()

    async def _pass_on(self, data: bytes, to: anyio.abc.ByteStream) -> None:
        if self.mode == "swallow":
            return
        if self.mode == "trickle":
            for start in range(0, len(data), 64):
                await to.send(data[start : start + 64])
                await anyio.sleep(0.005)
            return
        if self.mode == "delay":
            await anyio.sleep(0.1)
        await to.send(data)


class _Server(anyio.abc.ByteStream):
    """A connection to the unix socket.

    anyio's own sets the result of a future that was cancelled, when there is something to read in
    the same turn of uvloop's; that fails the test.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        if data := await self._reader.read(max_bytes):
            return data
        raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        self._writer.write(item)
        await self._writer.drain()

    async def send_eof(self) -> None:
        self._writer.write_eof()

    async def aclose(self) -> None:
        self._writer.close()


@asynccontextmanager
async def proxied(dsn: str) -> AsyncGenerator[tuple[Proxy, str]]:
    """Put a proxy before a database on a unix socket; gives it and the DSN that leads through."""
    at = urlsplit(dsn)
    proxy = Proxy(socket_of(dsn))
    async with proxy.run():
        yield proxy, f"postgresql://{at.username}@127.0.0.1:{proxy.port}{at.path}"


def socket_of(dsn: str) -> str:
    """Find PostgreSQL's socket in the DSN of an embedded one."""
    host = urlsplit(dsn).query
    if not host.startswith("host="):
        pytest.skip("the proxy leads to the unix socket of an embedded PostgreSQL")
    return unquote(host.removeprefix("host=")) + "/.s.PGSQL.5432"


def _reset(client: SocketStream) -> None:
    raw: socket.socket = client.extra(SocketAttribute.raw_socket)  # noqa: S610 - it is anyio's
    # uvloop's own object can neither be shut down nor closed.
    with suppress(OSError), socket.socket(fileno=os.dup(raw.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        same.shutdown(socket.SHUT_RDWR)
