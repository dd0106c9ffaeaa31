"""Reading a request's body: its media type and size are held to limits before decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalstack.api import headers as header
from signalstack.api.problems import DisconnectedError
from signalstack.core.errors import MalformedError, TooLargeError, UnsupportedMediaError

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import Receive

    from signalstack.api.headers import Headers


def check_media(headers: Headers, accepted: Collection[str]) -> None:
    """Check that the body is of an accepted media type, in UTF-8 and not compressed.

    An empty `accepted` takes any. Raises UnsupportedMediaError.
    """
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMediaError(
            f"Content-Encoding {encoding[:64]!r} is not read: send it plain"
        )
    media, _, parameters = headers.get("content-type", "").partition(";")
    media = media.strip().lower()
    if not accepted:
        return
    if media not in accepted:
        given = f"not {media[:64]!r}" if media else "which is missing"
        raise UnsupportedMediaError(f"Content-Type must be {' or '.join(accepted)}, {given}")
    if parameters.strip() and not _is_utf8(parameters):
        raise UnsupportedMediaError("the only parameter read in Content-Type is charset=utf-8")


async def read(headers: Headers, receive: Receive, *, limit: int) -> bytes:
    """Read the whole body of at most `limit` bytes.

    Raises TooLargeError, DisconnectedError, or MalformedError when it is shorter than announced.
    """
    announced = header.content_length(headers)
    if announced is not None and announced > limit:
        raise TooLargeError(f"the body has {announced} bytes; {limit} is the limit")
    body = await _gather(receive, limit)
    if announced is not None and announced != len(body):
        raise MalformedError("the body is not as long as Content-Length says")
    return body


async def _gather(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise DisconnectedError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise TooLargeError(f"the body passes the limit of {limit} bytes")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _is_utf8(parameters: str) -> bool:
    name, _, value = parameters.strip().partition("=")
    return name.strip().lower() == "charset" and value.strip().strip('"').lower() in {
        "utf-8",
        "utf8",
    }
