"""A real HTTP server on loopback that records what it is sent and answers as it was told to.

async with receiver(reply(503), reply(204)) as r:
    ...  # send to r.url
    first, second = await r.wait_for(2)
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import h11
import msgspec
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_CHUNK: Final = 65_536
_BARE: Final = frozenset({204, 304})  # these never have a body

Answer = Callable[["Exchange"], Awaitable[None]]


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came; header names are in lower case, `connection` counts from 1."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Receiver:
    """Where to send to, and what has come."""

    def __init__(self, scheme: str, port: int, answers: tuple[Answer, ...]) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}/hook"
        self.requests: list[Received] = []
        self.connections = 0
        self.usual = reply(204)
        self._answers = deque(answers)
        self._arrived = anyio.Event()

    def script(self, *answers: Answer) -> None:
        """Answer the next requests like this; when none is left, all get the `usual` one, 204."""
        self._answers.extend(answers)

    async def wait_for(self, count: int, *, timeout_s: float = 10) -> list[Received]:
        """Wait until `count` requests have come in all, and return them all."""
        with anyio.fail_after(timeout_s):
            while len(self.requests) < count:
                await self._arrived.wait()
        return self.requests

    def record(self, request: Received) -> Answer:
        """Take note of a request and say how to answer it."""
        self.requests.append(request)
        self._arrived.set()
        self._arrived = anyio.Event()
        return self._answers.popleft() if self._answers else self.usual


class Exchange:
    """One connection, with at most one request open on it."""

    def __init__(self, stream: ByteStream, number: int) -> None:
        self.stream = stream
        self.number = number
        self.http = h11.Connection(h11.SERVER)

    async def receive(self) -> Received | None:
        """Read the next request; None when the peer has closed."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(await self._read())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return self._received(head, bytes(body))
            else:
                return None

    async def send(self, event: h11.Event) -> None:
        """Write one part of the answer."""
        await self.stream.send(self.http.send(event) or b"")

    async def _read(self) -> bytes:
        try:
            return await self.stream.receive(_CHUNK)
        except anyio.EndOfStream:
            return b""

    def _received(self, head: h11.Request, body: bytes) -> Received:
        return Received(
            method=head.method.decode(),
            target=head.target.decode(),
            headers={name.decode(): value.decode() for name, value in head.headers},
            body=body,
            connection=self.number,
        )


@asynccontextmanager
async def receiver(
    *answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncGenerator[Receiver]:
    """Serve on loopback until the block ends; `answers` as for `Receiver.script`."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    bound: int = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    here = Receiver("https" if tls else "http", bound, answers)
    served = TLSListener(listener, tls, standard_compatible=False) if tls else listener
    async with served, anyio.create_task_group() as tasks:
        tasks.start_soon(served.serve, partial(_serve, here))
        yield here
        tasks.cancel_scope.cancel()


def reply(
    status: int = 204, *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Answer with a status, headers and a body, all at once; 204 and 304 go without the body."""
    bare = status in _BARE

    async def answer(exchange: Exchange) -> None:
        await _head(exchange, status, headers or {}, None if bare else len(body))
        await exchange.send(h11.Data(data=b"" if bare else body))
        await exchange.send(h11.EndOfMessage())

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    """Send the caller elsewhere."""
    return reply(status, headers={"location": location})


def huge(size: int, status: int = 200) -> Answer:
    """Answer with `size` bytes of body, as fast as they are taken."""

    async def answer(exchange: Exchange) -> None:
        await _head(exchange, status, {}, size)
        for start in range(0, size, _CHUNK):
            await exchange.send(h11.Data(data=b"x" * min(_CHUNK, size - start)))
        await exchange.send(h11.EndOfMessage())

    return answer


def drip(raw: bytes, *, every_s: float = 0.02) -> Answer:
    """Send `raw`, a whole answer in the protocol's own bytes, one byte at a time."""

    async def answer(exchange: Exchange) -> None:
        for byte in raw:
            await exchange.stream.send(bytes([byte]))
            await anyio.sleep(every_s)
        await exchange.stream.aclose()

    return answer


def raw(data: bytes) -> Answer:
    """Send these bytes, whatever they are, and close."""

    async def answer(exchange: Exchange) -> None:
        await exchange.stream.send(data)
        await exchange.stream.aclose()

    return answer


async def hang(exchange: Exchange) -> None:
    """Never answer; ends when the caller goes away."""
    await exchange.stream.receive()


def broken_off(status: int = 200, *, body: bytes) -> Answer:
    """Answer with the beginning of a body that was to be longer."""

    async def answer(exchange: Exchange) -> None:
        await _head(exchange, status, {}, len(body) + 1)
        await exchange.send(h11.Data(data=body))
        await anyio.aclose_forcefully(exchange.stream)

    return answer


async def reset(exchange: Exchange) -> None:
    """Break the connection off with a TCP reset."""
    linger_not = struct.pack("ii", 1, 0)
    sock = exchange.stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, not Django's
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
    await anyio.aclose_forcefully(exchange.stream)


async def _serve(here: Receiver, stream: ByteStream) -> None:
    here.connections += 1
    exchange = Exchange(stream, here.connections)
    try:
        async with stream:
            while (request := await exchange.receive()) is not None:
                await here.record(request)(exchange)
                if exchange.http.our_state is not h11.DONE:
                    return
                exchange.http.start_next_cycle()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
        pass  # the caller went away, as callers under test do
    except h11.RemoteProtocolError:
        pass  # not HTTP, perhaps TLS: nothing to record


async def _head(
    exchange: Exchange, status: int, headers: Mapping[str, str], length: int | None
) -> None:
    fields = list(headers.items())
    if length is not None:
        fields.append(("content-length", str(length)))
    await exchange.send(h11.Response(status_code=status, headers=fields))
