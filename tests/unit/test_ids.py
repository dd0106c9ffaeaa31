"""Ids sort by the moment they were made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from signalstack.core.ids import id_floor, id_time, new_id


def test_ids_are_standard_uuids_of_version_7() -> None:
    made = new_id()

    assert type(made) is UUID
    assert made.version == 7


def test_ids_made_later_sort_later() -> None:
    made = [new_id() for _ in range(20_000)]

    assert all(before < after for before, after in pairwise(made))


def test_ids_made_in_threads_never_repeat_and_sort_within_each_thread() -> None:
    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(_make, [5_000] * 4))

    assert len({made for run in runs for made in run}) == 20_000
    assert all(before < after for run in runs for before, after in pairwise(run))


def _make(count: int) -> list[UUID]:
    return [new_id() for _ in range(count)]


def test_id_time_is_when_the_id_was_made() -> None:
    before = datetime.now(UTC)

    made = id_time(new_id())

    assert made.tzinfo is UTC
    assert abs(made - before) < timedelta(seconds=5)


def test_id_time_reads_the_example_of_rfc_9562() -> None:
    example = UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")

    assert id_time(example) == datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)


def test_id_time_refuses_other_versions() -> None:
    with pytest.raises(ValueError, match="not a UUIDv7"):
        id_time(uuid4())


def test_id_time_refuses_times_that_no_datetime_holds() -> None:
    with pytest.raises(ValueError, match="year 9999"):
        id_time(UUID("ffffffff-ffff-7fff-bfff-ffffffffffff"))


def test_a_floor_is_the_lowest_id_of_its_moment() -> None:
    made = new_id()

    floor = id_floor(id_time(made))

    assert floor <= made < id_floor(id_time(made) + timedelta(milliseconds=1))


def test_a_floor_reads_any_time_in_any_zone() -> None:
    west = timezone(timedelta(hours=-12))

    assert id_floor(datetime(1, 1, 1, tzinfo=UTC)).int == 0
    assert id_floor(datetime(1970, 1, 1, tzinfo=west)).int >> 80 == 12 * 3_600_000
    assert id_floor(datetime.max.replace(tzinfo=west)) > id_floor(datetime(9999, 1, 1, tzinfo=UTC))
