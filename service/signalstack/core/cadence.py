"""A cadence: the moments at which a schedule ticks, by a cron expression or at an even pace."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from signalstack.core.cron import Cron, next_after, parse_cron
from signalstack.core.duration import parse_duration
from signalstack.core.errors import InvalidError

MIN_EVERY: Final = timedelta(seconds=1)
MAX_EVERY: Final = timedelta(days=31)
COUNT_LIMIT: Final = 100  # how far ticks of an expression are counted

_EVERY: Final = re.compile(r"@every\s+(\S+)")
_MINUTE: Final = timedelta(minutes=1)


class Every(msgspec.Struct, frozen=True, kw_only=True):
    """An even pace, counted from an anchor."""

    period: timedelta
    anchor: datetime


Cadence: TypeAlias = Cron | Every


def parse_cadence(cron: str, timezone: str, *, anchor: datetime) -> Cadence:
    """Read what a schedule says about its times; `@every` is counted from the anchor.

    Raises:
        InvalidError: one of the two is wrong, or there is no tick within ten years; points at it.
    """
    zone = _zone(timezone)
    try:
        if match := _EVERY.fullmatch(cron):
            return Every(period=_period(match[1]), anchor=anchor)
        parsed = parse_cron(cron, zone)
    except ValueError as error:
        raise InvalidError.at("/cron", str(error)) from None
    if next_after(parsed, anchor) is None:
        raise InvalidError.at("/cron", "has no time within the next ten years")
    return parsed


def next_tick(cadence: Cadence, after: datetime) -> datetime | None:
    """Tell the first tick after a moment, in UTC; None when there is none within ten years."""
    if isinstance(cadence, Cron):
        return next_after(cadence, after)
    passed = (after - cadence.anchor) // cadence.period
    return cadence.anchor + (max(passed, 0) + 1) * cadence.period


def upcoming(cadence: Cadence, after: datetime, *, count: int = 5) -> list[datetime]:
    """Tell the next ticks after a moment, fewer when there are no more."""
    ticks: list[datetime] = []
    while len(ticks) < count and (tick := next_tick(cadence, ticks[-1] if ticks else after)):
        ticks.append(tick)
    return ticks


def latest_tick(cadence: Cadence, first: datetime, until: datetime) -> tuple[datetime, int]:
    """Tell the last tick up to a moment, and how many there were from `first`, one itself, before.

    They are counted up to 100 for an expression, since it may have been years.
    """
    if isinstance(cadence, Every):
        passed = (until - first) // cadence.period
        return first + passed * cadence.period, passed
    latest, end = first, until
    # Each step halves what is left, which a search tick by tick would not.
    while end - latest >= _MINUTE:
        middle = latest + (end - latest) / 2
        tick = next_after(cadence, middle)
        if tick is not None and tick <= until:
            latest = tick
        else:
            end = middle
    return latest, _count(cadence, first, latest)


def _count(cron: Cron, first: datetime, latest: datetime) -> int:
    passed, tick = 0, first
    while tick < latest and passed < COUNT_LIMIT:
        tick = next_after(cron, tick) or latest
        passed += 1
    return passed


def _period(text: str) -> timedelta:
    period = timedelta(seconds=parse_duration(text))
    if not MIN_EVERY <= period <= MAX_EVERY:
        raise ValueError(f"@every takes 1s to 744h (31 days), not {text[:40]}")
    if period % timedelta(milliseconds=1):
        raise ValueError(f"@every takes whole milliseconds, not {text[:40]}")
    return period


def _zone(name: str) -> ZoneInfo:
    known = _zone_names()
    if name in known:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            known = known - {name}
    meant = next((each for each in sorted(known) if each.lower() == name.lower()), None)
    hint = f"did you mean {meant}?" if meant else "write one such as UTC or Europe/Berlin"
    raise InvalidError.at("/timezone", f"{name[:64]!r} is no time zone of the IANA list; {hint}")


@cache
def _zone_names() -> frozenset[str]:
    """List the zones by the package tzdata: the same on every machine, whatever its system has."""
    listed = resources.files("tzdata").joinpath("zones").read_text(encoding="ascii")
    return frozenset(listed.split())
