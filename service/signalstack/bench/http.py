"""The least of an HTTP client: kept connections that write ready bytes and read the answer."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import msgspec

from signalstack.bench.figure import BenchError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    body: bytes


class Caller(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._heard = b""
        self._answer: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None

    async def expect(self, request: bytes, status: int) -> bytes:
        """Send a request and return the body of its answer.

        Raises:
            BenchError: the answer has another status, or the connection is gone.
        """
        reply = await self._call(request)
        if reply.status != status:
            raise BenchError(f"the API answered {reply.status} instead of {status}")
        return reply.body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio's protocol)."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the one who waits know (asyncio's protocol)."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BenchError(f"the API ended a connection: {exc or 'closed'}"))

    def data_received(self, data: bytes) -> None:
        """Read on until the answer is whole (asyncio's protocol)."""
        self._heard += data
        head, end, body = self._heard.partition(_HEAD_END)
        if not end:
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) < int(length[1]):
            return
        self._heard = b""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(status=int(head.split(b" ", 2)[1]), body=body))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    async def _call(self, request: bytes) -> Reply:
        if self._transport is None:
            raise BenchError("the API closed a connection that it should have kept")
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.write(request)
        return await answer


@asynccontextmanager
async def connected(base_url: str) -> AsyncGenerator[Caller]:
    """Open a connection for as long as the block lasts."""
    url = urlsplit(base_url)
    _, caller = await asyncio.get_running_loop().create_connection(
        Caller, url.hostname or "127.0.0.1", url.port or 80
    )
    try:
        yield caller
    finally:
        caller.close()


def make_request(
    method: str, path: str, *, key: str = "", prefer: str = "", body: bytes = b""
) -> bytes:
    """Write out a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if prefer:
        lines.append(f"Prefer: {prefer}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _HEAD_END + body
