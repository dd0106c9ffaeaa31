"""Identifiers: UUIDv7, so that ids sort by the moment they were made (RFC 9562, 5.7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from uuid_utils.compat import uuid7

if TYPE_CHECKING:
    from uuid import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION: Final = 7
_MILLISECONDS_SHIFT: Final = 80


def new_id() -> UUID:
    """Make an id that sorts after every id this process made before."""
    return uuid7()


def id_time(value: UUID) -> datetime:
    """Read the moment an id was made, to the millisecond.

    Raises:
        ValueError: it is no UUIDv7, or lies past the year 9999.
    """
    if value.version != _VERSION:
        raise ValueError(f"{value} is not a UUIDv7")
    try:
        # Not fromtimestamp: a float of seconds would round the milliseconds.
        return _EPOCH + timedelta(milliseconds=value.int >> _MILLISECONDS_SHIFT)
    except OverflowError:
        raise ValueError(f"{value} carries a time past the year 9999") from None
