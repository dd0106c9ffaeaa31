"""Pages of lists: how many, from where on, and the opaque cursor that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from signalstack.api.operation import Call


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a list is wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200, description="How many at most.")] = 50
    cursor: Annotated[
        str | None, msgspec.Meta(description="The `next_cursor` of the page before.")
    ] = None


class Identified(Protocol):
    """Whatever has an id that lists are in order of."""

    @property
    def id(self) -> UUID:
        """The id."""
        ...


QueryT = TypeVar("QueryT", bound=PageQuery)
ItemT = TypeVar("ItemT", bound=Identified)


def position(call: Call[Any, QueryT], what: str) -> UUID | None:
    """Read after which id the page begins.

    Raises:
        MalformedError: the cursor is none of this tenant's for this list and these filters.
    """
    if call.query.cursor is None:
        return None
    return call.parts.cursors.unseal(
        call.query.cursor, user_id=call.user_id, scope=_scope(call.query, what)
    )


def cursor_after(call: Call[Any, QueryT], what: str, last: UUID | None) -> str | None:
    """Make the cursor of the page after `last`; None when there is no such page."""
    if last is None:
        return None
    return call.parts.cursors.seal(last, user_id=call.user_id, scope=_scope(call.query, what))


def split(
    call: Call[Any, QueryT], what: str, found: Sequence[ItemT]
) -> tuple[list[ItemT], str | None]:
    """Cut a list that was read with one item too many: the page, and the cursor of the next one."""
    page = list(found[: call.query.limit])
    more = len(found) > len(page)
    return page, cursor_after(call, what, page[-1].id if more else None)


def _scope(query: PageQuery, what: str) -> bytes:
    """Tell a list and its filters apart from all others; the size of pages may change midway."""
    filters = msgspec.structs.asdict(query)
    del filters["limit"], filters["cursor"]
    return msgspec.json.encode((what, filters), order="sorted")
