"""A stretch of whole days in UTC, cut into hours or days, in which things are counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from signalstack.core.errors import InvalidError

_LAST_HOUR: Final = time(23, tzinfo=UTC)


class Bucket(StrEnum):
    """How finely a period is cut."""

    HOUR = "hour"
    DAY = "day"


_STEPS: Final = {Bucket.HOUR: timedelta(hours=1), Bucket.DAY: timedelta(days=1)}
_MOST_DAYS: Final = {Bucket.HOUR: 31, Bucket.DAY: 366}


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """Counting starts with the hour `first` and ends with the hour `last`, `step` by step."""

    first: datetime
    last: datetime
    step: timedelta


def in_buckets(from_: date, to: date, bucket: Bucket) -> Period:
    """Cut the days from `from_` to `to`, both included, into buckets.

    Raises:
        InvalidError: the days are in the wrong order, or too many; it points at `/from` or `/to`.
    """
    _days(from_, to, _MOST_DAYS[bucket], f" by the {bucket.value}")
    return _period(from_, to, _STEPS[bucket])


def as_one(from_: date, to: date) -> Period:
    """Take the days from `from_` to `to`, both included, as a single bucket.

    Raises:
        InvalidError: the days are in the wrong order, or too many; it points at `/from` or `/to`.
    """
    days = _days(from_, to, _MOST_DAYS[Bucket.DAY], "")
    return _period(from_, to, timedelta(days=days))


def _days(from_: date, to: date, most: int, manner: str) -> int:
    if from_ > to:
        raise InvalidError.at("/from", f"{from_} is after `to`, which is {to}")
    days = (to - from_).days + 1
    if days > most:
        raise InvalidError.at("/to", f"{days} days are too many; {most} can be counted{manner}")
    return days


def _period(from_: date, to: date, step: timedelta) -> Period:
    first = datetime.combine(from_, time(tzinfo=UTC))
    return Period(first=first, last=datetime.combine(to, _LAST_HOUR), step=step)
