"""Pages of lists: how many, from where on, and the opaque cursor that says so."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar
from uuid import UUID

import msgspec

from signalstack.core.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Sequence

_UUID_BYTES = 16


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a list is wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None


class Identified(Protocol):
    """Whatever has an id that lists are in order of."""

    @property
    def id(self) -> UUID:
        """The id."""
        ...


ItemT = TypeVar("ItemT", bound=Identified)


def position(query: PageQuery) -> UUID | None:
    """Read after which id the page begins; MalformedError when the cursor is none of ours."""
    if query.cursor is None:
        return None
    try:
        decoded = urlsafe_b64decode(query.cursor + "==")
    except (Error, ValueError):
        decoded = b""
    if len(decoded) != _UUID_BYTES or _cursor(UUID(bytes=decoded)) != query.cursor:
        raise MalformedError("query parameter cursor: take it from next_cursor, unchanged")
    return UUID(bytes=decoded)


def split(found: Sequence[ItemT], limit: int) -> tuple[list[ItemT], str | None]:
    """Cut a list that was read with one item too many: the page, and the cursor of the next one."""
    page = list(found[:limit])
    return page, _cursor(page[-1].id) if len(found) > limit else None


def _cursor(last: UUID) -> str:
    return urlsafe_b64encode(last.bytes).rstrip(b"=").decode("ascii")
