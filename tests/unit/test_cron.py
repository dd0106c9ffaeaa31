"""Ticks of cron expressions, against a clock that is read minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from signalstack.core.cron import next_after, parse_cron

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
ZONES: Final = (
    *("UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/St_Johns"),
    "Australia/Lord_Howe",  # changes by half an hour
    *("Africa/Cairo", "America/Havana", "America/Santiago", "Asia/Beirut"),  # change at midnight
    "Pacific/Apia",  # left out a whole day
    *("Africa/Casablanca", "Asia/Kathmandu", "Antarctica/Casey", "Pacific/Kwajalein"),
)


class Field(msgspec.Struct, frozen=True):
    """A field as it is written, and the numbers that it stands for."""

    text: str
    fits: frozenset[int]


def fields(low: int, high: int, *, drawn: int | None = None) -> st.SearchStrategy[Field]:
    """Make fields: `*`, steps, single numbers up to `drawn`, ranges and lists of these."""
    number = st.integers(low, drawn or high)
    pair = st.tuples(number, number).map(sorted)
    step = st.integers(1, high)
    single = number.map(lambda n: Field(str(n), frozenset({n})))
    plain = pair.map(lambda p: Field(f"{p[0]}-{p[1]}", frozenset(range(p[0], p[1] + 1))))
    stepped = st.tuples(pair, step).map(
        lambda t: Field(f"{t[0][0]}-{t[0][1]}/{t[1]}", frozenset(range(t[0][0], t[0][1] + 1, t[1])))
    )
    onwards = st.tuples(number, step).map(
        lambda t: Field(f"{t[0]}/{t[1]}", frozenset(range(t[0], high + 1, t[1])))
    )
    star = st.just(Field("*", frozenset(range(low, high + 1))))
    every = step.map(lambda n: Field(f"*/{n}", frozenset(range(low, high + 1, n))))
    several = st.lists(st.one_of(single, plain, stepped), min_size=2, max_size=3).map(
        lambda parts: Field(
            ",".join(part.text for part in parts),
            frozenset[int]().union(*(part.fits for part in parts)),
        )
    )
    return st.one_of(star, every, single, plain, stepped, onwards, several)


class Reference:
    """Reads a clock minute by minute, as Debian's cron does, and knows nothing of cronsim."""

    def __init__(self, given: tuple[Field, ...], zone: ZoneInfo) -> None:
        self._minute, self._hour, self._day, self._month, self._weekday = given
        self._zone = zone
        self.names_times = given[0].text[0] != "*" and given[1].text[0] != "*"

    def ticks(self, after: datetime, until: datetime) -> list[datetime]:
        found: list[datetime] = []
        now = after.replace(second=0, microsecond=0) - DAY - 2 * HOUR
        reached = self._shown(now)
        while now < until:
            now += MINUTE
            shown = self._shown(now)
            if self.names_times:
                # What the clock has skipped is made up for; what it shows again is not.
                fits = any(self._fits(wall) for wall in _minutes(reached, shown))
                reached = max(reached, shown)
            else:
                fits = self._fits(shown)
            if fits and after < now <= until:
                found.append(now)
        return found

    def _shown(self, now: datetime) -> datetime:
        return now.astimezone(self._zone).replace(tzinfo=None, fold=0)

    def _fits(self, wall: datetime) -> bool:
        if wall.minute not in self._minute.fits or wall.hour not in self._hour.fits:
            return False
        if wall.month not in self._month.fits:
            return False
        weekday = wall.isoweekday()
        by_day = wall.day in self._day.fits
        by_weekday = weekday in self._weekday.fits or weekday % 7 in self._weekday.fits
        if self._day.text[0] == "*" or self._weekday.text[0] == "*":
            return by_day and by_weekday
        return by_day or by_weekday


def _minutes(after: datetime, until: datetime) -> Iterator[datetime]:
    while after < until:
        after += MINUTE
        yield after


def changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """Find the days of a year on which a zone's clock changes, and two on which it may not."""
    days = [datetime(year, 1, 1, tzinfo=UTC) + n * DAY for n in range(366)]
    found = [
        day
        for day in days
        if day.astimezone(zone).utcoffset() != (day + DAY).astimezone(zone).utcoffset()
    ]
    return [*found, days[58], days[200]]


@st.composite
def moments(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """Draw a zone and a moment of a day on which its clock may change."""
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    day = draw(st.sampled_from(changes(zone, draw(st.integers(2000, 2037)))))
    return zone, day + timedelta(seconds=draw(st.integers(-43_200, 2 * 86_400)))


HOURS: Final = st.one_of(fields(0, 23), fields(0, 23, drawn=4))  # clocks change early in the day
DAYS: Final = st.one_of(st.just(Field("*", frozenset(range(1, 32)))), fields(1, 31))
MONTHS: Final = st.one_of(st.just(Field("*", frozenset(range(1, 13)))), fields(1, 12))
WEEKDAYS: Final = st.one_of(st.just(Field("*", frozenset(range(8)))), fields(0, 7))
ANY_DAY: Final = (
    Field("*", frozenset(range(1, 32))),
    Field("*", frozenset(range(1, 13))),
    Field("*", frozenset(range(8))),
)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(fields(0, 59), HOURS, DAYS, MONTHS, WEEKDAYS),
    moments(),
)
@example(
    # cronsim itself leaves out 02:00 and 02:15 of that day.
    (Field("*/15", frozenset({0, 15, 30, 45})), Field("2", frozenset({2})), *ANY_DAY),
    (ZoneInfo("Australia/Lord_Howe"), datetime(2026, 4, 4, 0, tzinfo=UTC)),
)
@example(
    # cronsim itself names midnight, which that day did not have.
    (
        Field("*/30", frozenset({0, 30})),
        Field("*/2", frozenset(range(0, 24, 2))),
        Field("24", frozenset({24})),
        *ANY_DAY[1:],
    ),
    (ZoneInfo("Africa/Cairo"), datetime(2026, 4, 22, 0, tzinfo=UTC)),
)
def test_ticks_are_those_that_a_clock_shows_minute_by_minute(
    given_fields: tuple[Field, ...], place: tuple[ZoneInfo, datetime]
) -> None:
    zone, moment = place
    text = " ".join(field.text for field in given_fields)
    until = moment + DAY + 6 * HOUR
    expected = Reference(given_fields, zone).ticks(moment, until)
    try:
        cron = parse_cron(text, zone)
    except ValueError as error:
        assert "none of these months" in str(error)  # noqa: PT017 - both ends are checked
        assert not expected
        return

    found: list[datetime] = []
    tick = next_after(cron, moment)
    while tick is not None and tick <= until and len(found) <= len(expected):
        found.append(tick)
        tick = next_after(cron, tick)

    assert found == expected, (text, zone.key, moment)


@pytest.mark.parametrize(
    ("text", "zone", "day", "ticks"),
    [
        # 02:00 to 03:00 does not exist: a time of day comes at its end, a pace leaves it out.
        ("30 2 * * *", "Europe/Berlin", "2026-03-29", ["03:00+02:00"]),
        ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29", ["03:00+02:00", "03:30+02:00"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-29", []),
        # 02:00 to 03:00 comes twice: a time of day the first time, a pace both times.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", ["02:30+02:00"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-10-25", [
            *("02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00"),
        ]),
        ("0 0 * * *", "Africa/Cairo", "2026-04-24", ["01:00+03:00"]),
        ("0 12 30 * *", "Pacific/Apia", "2011-12-31", ["00:00+14:00"]),
    ],
)  # fmt: skip
def test_times_on_days_when_the_clock_changes(
    text: str, zone: str, day: str, ticks: list[str]
) -> None:
    place = ZoneInfo(zone)
    midnight = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=place)
    moment = midnight.astimezone(UTC) - MINUTE
    cron = parse_cron(text, place)

    found: list[str] = []
    while (tick := next_after(cron, moment)) and tick.astimezone(place).date().isoformat() == day:
        found.append(tick.astimezone(place).isoformat(timespec="minutes")[11:])
        moment = tick

    assert found == ticks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@hourly", "2026-01-31T13:00"),
        ("@daily", "2026-02-01T00:00"),
        ("@weekly", "2026-02-01T00:00"),
        ("@monthly", "2026-02-01T00:00"),
        ("@Yearly", "2027-01-01T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 9 L * *", "2026-02-28T09:00"),
        ("0 9 LW * *", "2026-02-27T09:00"),
        ("0 9 * * 5L", "2026-02-27T09:00"),
        ("0 9 * * mon#1", "2026-02-02T09:00"),
        ("29-29/7 12 * * *", "2026-02-01T12:29"),
        ("0 9 13 * FRI", "2026-02-06T09:00"),  # either, as neither is a star
        ("5-9/2,30 9 1 jan-mar sun", "2026-02-01T09:05"),
    ],
)
def test_what_can_be_written(text: str, expected: str) -> None:
    tick = next_after(parse_cron(text, ZoneInfo("UTC")), datetime(2026, 1, 31, 12, 30, tzinfo=UTC))

    assert tick == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("60 * * * *", "minute: '60' is not within 0 to 59"),
        ("* 24 * * *", "hour: '24' is not within 0 to 23"),
        ("* * 0 * *", "day of month: '0' is not within 1 to 31"),
        ("* * * 13 *", "month: '13' is not within 1 to 12"),
        ("* * * * 8", "day of week: '8' is not within 0 to 7"),
        ("* * * * FOO", "day of week: 'FOO'"),
        ("* * * FRI *", "month: 'FRI'"),
        ("9-5 * * * *", "minute: '9-5'"),
        ("*/0 * * * *", "minute: '*/0'"),
        ("*/60 * * * *", "minute: '*/60'"),
        ("1,,2 * * * *", "minute: ''"),
        ("-1 * * * *", "minute: '-1'"),
        ("1.5 * * * *", "minute: '1.5'"),
        ("² * * * *", "minute: '²'"),
        ("* * L/2 * *", "day of month: 'L/2'"),
        ("* * * * MON#6", "day of week: 'MON#6'"),
        ("* * * *", "has five fields (minute, hour, day of month, month, day of week), this one 4"),
        ("0 * * * * *", "this one 6"),
        ("", "this one 0"),
        ("@reboot", "'@reboot' is not known"),
        ("0 0 30 2 *", "day of month: none of these months has such a day"),
        ("0 0 31 4,6,9,11 *", "day of month: none of these months has such a day"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_cron(text, ZoneInfo("UTC"))

    assert told in str(caught.value)


def test_a_day_that_never_comes_is_not_searched_for_ever() -> None:
    never = parse_cron("0 0 */30 2 MON#5", ZoneInfo("Europe/Berlin"))

    assert next_after(never, datetime(2026, 1, 1, tzinfo=UTC)) is None
