"""The receiver of the demo's webhooks: a bare HTTP server on loopback that notes when each came."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import ByteStream
    from anyio.streams.memory import MemoryObjectSendStream

_HEAD_LIMIT: Final = 65_536
_ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_BUFFER: Final = 100


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came; `at` is when its last byte was read, by `perf_counter`."""

    at: float
    headers: dict[str, str]
    body: bytes


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send to, and the stream of what has come."""

    url: str
    webhooks: MemoryObjectReceiveStream[Webhook]


@asynccontextmanager
async def open_receiver() -> AsyncGenerator[Receiver]:
    """Take webhooks on any free port of 127.0.0.1 until the context ends."""
    put, webhooks = anyio.create_memory_object_stream[Webhook](_BUFFER)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port: int = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    async with put, webhooks, listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, partial(_serve, put))
        yield Receiver(url=f"http://127.0.0.1:{port}/hook", webhooks=webhooks)
        tasks.cancel_scope.cancel()


async def _serve(put: MemoryObjectSendStream[Webhook], stream: ByteStream) -> None:
    requests = BufferedByteReceiveStream(stream)
    async with stream:
        try:
            while True:
                webhook = await _read(requests)
                await stream.send(_ANSWER)
                await put.send(webhook)
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            return  # the sender hung up


async def _read(requests: BufferedByteReceiveStream) -> Webhook:
    head = (await requests.receive_until(b"\r\n\r\n", _HEAD_LIMIT)).decode("latin-1")
    fields = (line.partition(":") for line in head.split("\r\n")[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    body = await requests.receive_exactly(int(headers.get("content-length", "0")))
    return Webhook(at=perf_counter(), headers=headers, body=body)
