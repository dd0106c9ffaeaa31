"""Where a worker's looks for work begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from signalstack.core.ids import id_floor
from signalstack.store.dispatch import NIL
from signalstack.worker.walks import Walks

EPOCH = datetime(2026, 11, 28, tzinfo=UTC)
SKEW = timedelta(seconds=10)


class Looks:
    """Looks of one worker, on a clock that only they move."""

    def __init__(self) -> None:
        self.time = 0.0
        self.walks = Walks(lambda: EPOCH.timestamp() + self.time, clock=lambda: self.time)

    def look(self, *, takes_s: float = 0.001, rows: int = 0, leaves: bool = False) -> bytes:
        """Look; tells from which id on."""
        walk = self.walks.begin()
        self.time += takes_s
        self.walks.end(walk, rows=rows, left_none=not leaves)
        return walk.since


@pytest.fixture
def looks() -> Looks:
    """Looks that have begun with a quick one, a second ago."""
    looks = Looks()
    looks.time = -1.0
    looks.look()
    looks.time = 0.0
    return looks


def _since(seconds: float) -> bytes:
    return id_floor(EPOCH + timedelta(seconds=seconds) - SKEW).bytes


def test_quick_looks_are_all_at_everything(looks: Looks) -> None:
    assert {looks.look(takes_s=0.004) for _ in range(5)} == {NIL}


def test_a_look_that_leases_many_is_not_taken_for_a_long_walk(looks: Looks) -> None:
    looks.look(takes_s=0.025, rows=500)

    assert looks.look() == NIL


def test_a_database_that_is_far_away_is_not_taken_for_a_long_walk() -> None:
    looks = Looks()

    assert {looks.look(takes_s=0.05) for _ in range(5)} == {NIL}


def test_a_connection_that_leads_further_is_not_taken_for_a_long_walk(looks: Looks) -> None:
    looks.walks.renew()

    assert {looks.look(takes_s=0.05) for _ in range(5)} == {NIL}


def test_after_a_long_one_looks_begin_where_the_last_one_left_none(looks: Looks) -> None:
    looks.look(takes_s=0.1)
    looks.time = 5.0
    first = looks.look()
    looks.time = 7.0
    second = looks.look(leaves=True)
    third = looks.look()

    assert [first, second, third] == [_since(0.0), _since(5.0), _since(5.0)]


def test_everything_is_looked_at_again_within_a_share_of_the_time(looks: Looks) -> None:
    looks.look(takes_s=0.1)
    looks.time = 0.1 + 19.9
    before = looks.look()
    looks.time = 0.1 + 20.1
    after = looks.look(takes_s=1.0)
    looks.time += 29.9
    later = looks.look()
    looks.time += 0.2
    last = looks.look()

    assert [before == NIL, after == NIL, later == NIL, last == NIL] == [False, True, False, True]


def test_a_long_look_that_leaves_some_is_followed_by_one_at_everything(looks: Looks) -> None:
    looks.look(takes_s=0.1, leaves=True)

    assert looks.look() == NIL


def test_what_waits_again_is_looked_for_once(looks: Looks) -> None:
    looks.look(takes_s=0.1)
    looks.walks.need_whole()
    asked = looks.walks.since

    assert (asked, looks.look(takes_s=0.1), looks.look() == NIL) == (NIL, NIL, False)


def test_what_waits_again_during_a_look_is_looked_for_after_it(looks: Looks) -> None:
    looks.look(takes_s=0.1)
    walk = looks.walks.begin()
    looks.walks.need_whole()
    looks.walks.end(walk, rows=0, left_none=True)

    assert looks.look() == NIL


def test_two_looks_at_once_do_not_hide_what_one_of_them_left(looks: Looks) -> None:
    looks.look(takes_s=0.1)
    new, looks.time = looks.walks.begin(), looks.time + 60.0
    everything = looks.walks.begin()
    looks.time += 0.1
    looks.walks.end(everything, rows=0, left_none=False)
    looks.walks.end(new, rows=0, left_none=True)

    assert [new.since == NIL, everything.since == NIL, looks.look() == NIL] == [False, True, True]


def test_nobody_is_to_step_over_what_takes_long_but_from_a_new_id_on(looks: Looks) -> None:
    quick = looks.walks.burdened
    looks.look(takes_s=0.1, leaves=True)
    everything = looks.walks.burdened
    looks.look(takes_s=0.1)
    new = looks.walks.burdened

    assert [quick, everything, new] == [False, True, False]
