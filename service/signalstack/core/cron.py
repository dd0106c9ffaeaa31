"""Cron expressions and their ticks in a time zone, also on days when its clocks change.

The five fields mean what they mean to Debian's cron, and so do clock changes. An expression whose
minute and hour both begin with something else than `*` names times of day: one that the clock skips
comes as soon as the clock goes on, one that it shows twice comes the first time. Every other
expression names a pace: it ticks whenever the clock shows a time that fits, so not at all in what
is skipped, and again in what is repeated.

cronsim reads the expressions and walks a calendar without a zone. The clock changes are ours: in a
zone it returns times that do not exist (`* 0 …` where midnight is skipped) and leaves others out
(where clocks change by half an hour).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_AHEAD: Final = timedelta(days=3_653)  # 29 February comes at least every eight years
ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_DAY: Final = timedelta(days=1)
_MINUTE: Final = timedelta(minutes=1)
_MONTHS: Final = [
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
]
_DAYS: Final = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


class _Field(msgspec.Struct, frozen=True, kw_only=True):
    """What a field may hold: numbers, names for them, and words of its own."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    words: re.Pattern[str] = re.compile(r"(?!)")
    example: str


_FIELDS: Final = (
    _Field(name="minute", low=0, high=59, example="*, 5, 0-29, */15, or a list such as 0,30"),
    _Field(name="hour", low=0, high=23, example="*, 9, 9-17, */2, or a list such as 9,17"),
    _Field(
        name="day of month",
        low=1,
        high=31,
        words=re.compile(r"LW?"),
        example="*, 1, 1-7, */2, L for the last, LW for the last weekday, or a list such as 1,15",
    ),
    _Field(
        name="month",
        low=1,
        high=12,
        names=tuple(_MONTHS),
        example="*, 6, JUN, 1-3, */3, or a list such as 1,7",
    ),
    _Field(
        name="day of week",
        low=0,
        high=7,
        names=tuple(_DAYS),
        words=re.compile(r"[0-7]L|(?:[0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)#[1-5]"),
        example="*, 1, MON, MON-FRI, 5L for the last Friday, MON#1 for the first Monday, or a list",
    ),
)
_ITEM: Final = re.compile(
    r"(?:\*|(?P<first>[0-9]{1,2}|[A-Z]{3})(?:-(?P<last>[0-9]{1,2}|[A-Z]{3}))?)"
    r"(?:/(?P<step>[0-9]{1,2}))?"
)
_LONE: Final = re.compile(r"\b(\w+)-\1/[0-9]+")


class Cron(msgspec.Struct, frozen=True, kw_only=True):
    """A checked expression of five fields, in a zone; `names_times` is false for a pace."""

    fields: str
    days: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    names_times: bool
    zone: ZoneInfo


def parse_cron(text: str, zone: ZoneInfo) -> Cron:
    """Read an expression of five fields, or one of the aliases.

    Raises:
        ValueError: it is none; the message names the field and what would be right.
    """
    fields = ALIASES.get(text.lower(), text).upper().split()
    if fields and fields[0].startswith("@"):
        raise ValueError(f"{text!r} is not known; there are @every and {', '.join(ALIASES)}")
    if len(fields) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        raise ValueError(f"a cron expression has five fields ({names}), this one {len(fields)}")
    for field, given in zip(_FIELDS, fields, strict=True):
        _check_field(field, given)
    # cronsim takes the step of `5-5/10` for that of `5/10`, which goes on to the field's end.
    fields = [_LONE.sub(r"\1", given) for given in fields]
    try:
        read = CronSim(" ".join(fields), datetime(2000, 1, 1))  # noqa: DTZ001 - a wall clock's time
    except CronSimError:
        # Of what is left, cronsim refuses only days that none of the months has.
        raise ValueError("day of month: none of these months has such a day") from None
    return Cron(
        fields=" ".join(fields),
        days=" ".join(("0", "0", *fields[2:])),
        minutes=tuple(sorted(read.minutes)),
        hours=tuple(sorted(read.hours)),
        names_times=fields[0][0] != "*" and fields[1][0] != "*",
        zone=zone,
    )


def next_after(cron: Cron, moment: datetime) -> datetime | None:
    """Tell the first tick after an aware moment, in UTC; None when there is none in ten years."""
    local = moment.astimezone(cron.zone)
    shown = local.replace(tzinfo=None, fold=0)
    wall = next(CronSim(cron.fields, shown), None)
    if wall is None or wall - shown > LOOK_AHEAD:
        return None
    offset = _steady_offset(cron.zone, moment, wall - shown)
    if offset is not None:
        tick = (wall - offset).replace(tzinfo=UTC)
        if tick.astimezone(cron.zone).replace(tzinfo=None) == wall and not (
            cron.names_times and _instant(cron, wall) < tick
        ):
            return tick
    return _search(cron, moment, shown)


def _steady_offset(zone: ZoneInfo, moment: datetime, wait: timedelta) -> timedelta | None:
    """Tell the zone's offset after a wait on the wall clock; None when a change may come between.

    Changes in between do no harm to a long wait, so long as none is near its beginning or its end.
    """
    now = moment.astimezone(zone).utcoffset()
    if wait <= _DAY:
        return now
    soon, before, after = (
        (moment + ahead).astimezone(zone).utcoffset() for ahead in (_DAY, wait - _DAY, wait + _DAY)
    )
    return after if now == soon and before == after else None


def _search(cron: Cron, moment: datetime, shown: datetime) -> datetime | None:
    """Look through the days from the one before: a clock set back at midnight returns to it."""
    earliest: datetime | None = None
    since = datetime.combine(shown - _DAY, datetime.min.time()) - _MINUTE
    until = shown + LOOK_AHEAD
    found_on: datetime | None = None
    for day in CronSim(cron.days, since):
        if day > until or (found_on is not None and day - found_on > _DAY):
            break
        ticks = [tick for tick in _ticks_of(cron, day) if tick > moment]
        if ticks and (earliest is None or min(ticks) < earliest):
            earliest = min(ticks)
        if ticks and found_on is None:
            found_on = day
    return earliest


def _ticks_of(cron: Cron, day: datetime) -> Iterator[datetime]:
    """Tell the ticks of a day on the wall clock, in UTC, in no order."""
    for hour in cron.hours:
        for minute in cron.minutes:
            wall = day.replace(hour=hour, minute=minute)
            if cron.names_times:
                yield _instant(cron, wall)
                continue
            for fold in (0, 1):
                tick = wall.replace(tzinfo=cron.zone, fold=fold).astimezone(UTC)
                if tick.astimezone(cron.zone).replace(tzinfo=None) == wall:
                    yield tick


def _instant(cron: Cron, wall: datetime) -> datetime:
    """Tell when the clock first shows a time; a skipped one stands for the end of the gap."""
    while True:
        tick = wall.replace(tzinfo=cron.zone, fold=0).astimezone(UTC)
        if tick.astimezone(cron.zone).replace(tzinfo=None, fold=0) == wall:
            return tick
        wall += _MINUTE


def _check_field(field: _Field, given: str) -> None:
    for item in given.split(","):
        if not _is_right(field, item):
            raise ValueError(
                f"{field.name}: {item[:40]!r} is not within {field.low} to {field.high};"
                f" write {field.example}"
            )


def _is_right(field: _Field, item: str) -> bool:
    if field.words.fullmatch(item):
        return True
    match = _ITEM.fullmatch(item)
    if match is None:
        return False
    first, last = (_number(field, match[end]) for end in ("first", "last"))
    step = match["step"]
    in_order = first is None or last is None or first <= last
    in_bounds = all(field.low <= end <= field.high for end in (first, last) if end is not None)
    return in_order and in_bounds and (step is None or 1 <= int(step) <= field.high)


def _number(field: _Field, end: str | None) -> int | None:
    """Tell the number that an end of a range stands for; one out of bounds for an unknown name."""
    if end is None or end.isdigit():
        return None if end is None else int(end)
    return field.names.index(end) + field.low if end in field.names else field.high + 1
