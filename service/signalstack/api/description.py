"""The description of the API, for programs and for people: `/openapi.json` and `/docs`."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import msgspec

from signalstack.api import codec, documentation, openapi
from signalstack.api.operation import JSON, Answer, AnyOperation, Bare, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.core.handler import Registry

HTML: Final = "text/html; charset=utf-8"
# Kept, but asked for again each time: another version may answer next.
_CACHE: Final = (b"cache-control", b"no-cache")

_CAREFUL: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it is sent, made once."""

    content: bytes
    media: str
    etag: str
    headers: tuple[tuple[bytes, bytes], ...]

    def answer(self, call: Bare) -> Answer:
        """Send it, unless the caller has it."""
        known = call.exchange.headers.get("if-none-match", "")
        # A proxy that compresses makes the tag a weak one, which counts here (RFC 9110, 13.1.2).
        tags = (tag.strip().removeprefix("W/") for tag in known.split(","))
        if known == "*" or self.etag in tags:
            return Answer(status=304, headers=self.headers)
        return Answer(body=self.content, media=self.media, headers=self.headers)


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """The description in both of its forms."""

    document: _Kept
    page: _Kept


class Description:
    """Describes operations, and itself among them."""

    def __init__(self, operations: Sequence[AnyOperation], registry: Registry) -> None:
        self.operations: tuple[AnyOperation, ...] = (
            _operation("/openapi.json", "This description, as OpenAPI 3.1", self.get_openapi, JSON),
            _operation("/docs", "This description, as a page to read", self.get_docs, HTML),
        )
        self._all = (*operations, *self.operations)
        self._registry = registry
        self._drawing = anyio.Lock()
        self._drawn: Drawn | None = None

    async def get_openapi(self, call: Bare) -> Answer:
        """Give the whole API as an OpenAPI document, for tools to read."""
        return (await self._once()).document.answer(call)

    async def get_docs(self, call: Bare) -> Answer:
        """Give the whole API as one page, which loads nothing else and runs no script."""
        return (await self._once()).page.answer(call)

    def draw(self) -> Drawn:
        """Make both forms, always the same from the same operations and job types."""
        document = openapi.build(self._all, self._registry)
        page = documentation.render(document)
        policy = (b"content-security-policy", page.policy.encode("ascii"))
        return Drawn(
            document=_keep(codec.encode(document), JSON),
            page=_keep(page.html.encode(), HTML, policy, *_CAREFUL),
        )

    async def _once(self) -> Drawn:
        async with self._drawing:
            if self._drawn is None:
                # Some 50 ms: nobody asks at most starts, and other requests must not wait for it.
                self._drawn = await anyio.to_thread.run_sync(self.draw)
        return self._drawn


def _operation(path: str, summary: str, handler: Any, media: str) -> AnyOperation:
    return Operation(
        method="GET",
        path=path,
        summary=summary,
        handler=handler,
        answers={200: dict[str, Any] if media == JSON else str, 304: None},
        reads=("If-None-Match",),
        tells={200: ("ETag",), 304: ("ETag",)},
        produces=media.partition(";")[0],
        needs=None,
        versioned=False,
    )


def _keep(content: bytes, media: str, *headers: tuple[bytes, bytes]) -> _Kept:
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    told = ((b"etag", etag.encode("ascii")), _CACHE, *headers)
    return _Kept(content=content, media=media, etag=etag, headers=told)
