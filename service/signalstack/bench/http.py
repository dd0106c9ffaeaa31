"""The least of an HTTP client: keep-alive connections that write ready bytes and read a status."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from signalstack.bench.figure import BenchError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"


class Caller(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._heard = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    async def call(self, request: bytes) -> int:
        """Send a request and return the status of its answer.

        Raises:
            BenchError: the connection is gone.
        """
        if self._transport is None:
            raise BenchError("the API closed a connection that it should have kept")
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.write(request)
        return await answer

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
            self._answer.set_result(int(head.split(b" ", 2)[1]))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


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


def make_request(method: str, path: str, *, key: str = "", body: bytes = b"") -> bytes:
    """Write out a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _HEAD_END + body
