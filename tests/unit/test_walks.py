"""Where a worker's looks for work begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from signalstack.core.ids import id_floor
from signalstack.core.job import Wake
from signalstack.store.claims import NIL, Lease
from signalstack.worker.walks import Walks

if TYPE_CHECKING:
    from collections.abc import Sequence

EPOCH = datetime(2026, 11, 28, tzinfo=UTC)
SKEW = timedelta(seconds=2)
MANY = 5_001


class Looks:
    """Looks of one worker, on a clock that only they move; `again` is what the last one asked."""

    def __init__(self) -> None:
        self.time = 0.0
        self.again: float | None = None
        self.walks = Walks(lambda: EPOCH.timestamp() + self.time, clock=lambda: 1_000.0 + self.time)

    def look(
        self,
        *,
        dead: int = 10,
        takes_s: float = 0.001,
        made_at: Sequence[float] = (),
        leaves: bool = False,
        no_limits: bool = True,
        reached: bytes | None = None,
    ) -> bytes:
        """Look, and lease jobs that were made at these times; tells from which id on."""
        walk = self.walks.begin()
        self.time += takes_s
        self.again = self.walks.end(
            walk,
            [_lease(seconds) for seconds in made_at],
            dead=dead if walk.counted else None,
            left_none=not leaves,
            no_limits=no_limits,
            reached=reached,
        )
        return walk.since

    def cut_off(self, takes_s: float) -> bytes:
        """Look, and be ended after so long; tells from which id on."""
        walk = self.walks.begin()
        self.time += takes_s
        self.walks.end_cut(walk)
        return walk.since

    def fill(self, reached: float) -> bytes:
        """Claim as much as there is room for, up to a job that was made at this time."""
        return self.look(made_at=[reached] * 20, leaves=True, reached=_id(reached))


@pytest.fixture
def looks() -> Looks:
    """Looks that have begun with one that stepped over few, a minute ago."""
    looks = Looks()
    looks.time = -60.0
    looks.look()
    looks.time = 0.0
    return looks


@pytest.fixture
def burdened(looks: Looks) -> Looks:
    """Looks of which the last one stepped over many; it began at 0 s."""
    looks.look(dead=MANY, takes_s=0.1)
    return looks


def _lease(made_at: float) -> Lease:
    id_ = id_floor(EPOCH + timedelta(seconds=made_at))
    return Lease(
        user_id=bytes(16),
        id=id_.bytes,
        job_id=id_,
        type="noop",
        queue="default",
        attempt=1,
        max_attempts=3,
        timeout_s=None,
        due_at=0.0,
        wake=Wake.NOTIFY,
        traceparent=None,
        payload=b"null",
        token=1,
    )


def _id(made_at: float) -> bytes:
    return id_floor(EPOCH + timedelta(seconds=made_at)).bytes


def _since(seconds: float) -> bytes:
    return id_floor(EPOCH + timedelta(seconds=seconds) - SKEW).bytes


def test_looks_that_step_over_few_are_all_at_everything(looks: Looks) -> None:
    found = [looks.look(dead=MANY - 1, takes_s=3.0) for _ in range(5)]

    assert (set(found), looks.walks.long) == ({NIL}, False)


def test_the_dead_are_counted_now_and_then_and_always_while_they_are_many(looks: Looks) -> None:
    counted = [looks.walks.begin().counted]
    looks.look()
    counted.append(looks.walks.begin().counted)
    looks.time += 5.1
    counted.append(looks.walks.begin().counted)
    looks.look(dead=MANY)
    looks.walks.need_whole()
    counted.append(looks.walks.begin().counted)

    assert counted == [True, False, True, True]


def test_after_a_long_one_looks_begin_where_the_last_one_left_none(burdened: Looks) -> None:
    long = burdened.walks.long
    burdened.time = 5.0
    first = burdened.look()
    burdened.time = 7.0
    second = burdened.look(leaves=True)
    third = burdened.look()

    assert [first, second, third] == [_since(0.0), _since(5.0), _since(5.0)]
    assert (long, burdened.walks.long) == (True, True)


def test_a_short_one_ends_it(burdened: Looks) -> None:
    burdened.walks.need_whole()
    burdened.look()

    assert (burdened.walks.long, burdened.look()) == (False, NIL)


def test_everything_is_looked_at_again_within_a_share_of_the_time(burdened: Looks) -> None:
    burdened.time = 0.1 + 19.9
    due = burdened.walks.due
    before = burdened.look()
    burdened.time = 0.1 + 20.1
    after = burdened.look(dead=MANY, takes_s=1.0)
    burdened.time += 29.9
    later = burdened.look()
    burdened.time += 0.2
    last = burdened.look()

    assert [before == NIL, after == NIL, later == NIL, last == NIL] == [False, True, False, True]
    assert (due, burdened.walks.due) == (False, True)


def test_a_long_look_that_leases_an_old_one_and_leaves_some_is_followed_by_one_at_everything(
    burdened: Looks,
) -> None:
    burdened.walks.need_whole()
    burdened.look(dead=MANY, takes_s=0.1, made_at=[-60.0, 0.0], leaves=True)

    assert (burdened.look(dead=MANY, takes_s=0.1), burdened.look() == NIL) == (NIL, False)


def test_who_is_sent_more_than_it_takes_at_once_goes_on_with_new_ones(burdened: Looks) -> None:
    burdened.walks.need_whole()
    everything = burdened.look(dead=MANY, takes_s=0.1, made_at=[0.0, 0.1], leaves=True)

    assert (everything, burdened.look()) == (NIL, _since(0.0))


def test_an_old_one_of_less_priority_is_looked_for_when_no_new_ones_are_left(
    burdened: Looks,
) -> None:
    burdened.walks.need_whole()
    burdened.look(dead=MANY, takes_s=0.1, made_at=[0.1], leaves=True)
    burdened.time = 5.0
    looks = [burdened.look(leaves=True), burdened.look(), burdened.look(dead=MANY)]

    assert [since == NIL for since in looks] == [False, False, True]
    assert burdened.look() == _since(5.001 + 0.001)


@pytest.mark.parametrize(("made_at", "no_limits"), [((), True), ((0.0,), False)])
def test_a_look_that_leased_none_or_met_limits_is_followed_by_one_at_everything(
    burdened: Looks, *, made_at: tuple[float, ...], no_limits: bool
) -> None:
    burdened.walks.need_whole()
    burdened.look(dead=MANY, takes_s=0.1, made_at=made_at, leaves=True, no_limits=no_limits)

    assert burdened.look() == NIL


def test_after_a_look_that_was_cut_off_only_new_ones_are_looked_at_for_a_while(
    looks: Looks,
) -> None:
    looks.cut_off(9.0)
    at_first = looks.walks.cut  # PostgreSQL may just have stood still
    looks.time = 0.0
    looks.cut_off(9.0)
    looks.walks.need_whole()
    found, asked, cut = [looks.look()], [looks.again], [looks.walks.cut]
    for looks.time in (98.9, 99.1):
        cut.append(looks.walks.cut)
        found.append(looks.look())
        asked.append(looks.again)

    assert found == [_since(-60.0), _since(9.0), NIL]
    assert (asked, cut) == ([None] * 3, [True, True, False])
    assert (at_first, looks.walks.cut) == (False, False)


def test_a_look_at_new_ones_that_was_cut_off_is_followed_by_one_at_newer_ones(
    burdened: Looks,
) -> None:
    burdened.time = 5.0

    assert burdened.cut_off(9.0) == _since(0.0)
    assert burdened.look() == _since(5.0)


def test_nothing_is_looked_at_twice_in_vain_while_looks_are_cut_off(burdened: Looks) -> None:
    burdened.walks.need_whole()
    burdened.look(dead=MANY, made_at=[5.0], leaves=True)  # old ones may be left
    burdened.walks.need_whole()
    burdened.cut_off(9.0)
    burdened.look()

    assert burdened.again is None


def test_a_poll_allows_for_slower_commits_than_a_bell(burdened: Looks) -> None:
    burdened.time = 60.0
    burdened.look(dead=MANY, takes_s=0.1)
    bell, poll = burdened.walks.begin(), burdened.walks.begin(poll=True)

    assert (bell.since, poll.since) == (_since(60.0), _since(60.0 - 15.0 + SKEW.total_seconds()))


@pytest.mark.parametrize(("found_none", "since"), [(False, 0.0), (True, 5.0)])
def test_a_poll_clears_what_it_finds_empty_and_hides_nothing(
    burdened: Looks, *, found_none: bool, since: float
) -> None:
    burdened.time = 5.0
    poll = burdened.walks.begin(whole=True)
    burdened.time += 0.1
    burdened.walks.end_poll(poll, dead=MANY, found_none=found_none)

    assert (poll.since, burdened.look()) == (NIL, _since(since))


def test_what_waits_again_is_looked_for_once(burdened: Looks) -> None:
    burdened.walks.need_whole()
    asked = burdened.walks.begin().since

    assert (asked, burdened.look(dead=MANY, takes_s=0.1), burdened.look() == NIL) == (
        NIL,
        NIL,
        False,
    )


def test_what_waits_again_during_a_look_is_looked_for_after_it(burdened: Looks) -> None:
    walk = burdened.walks.begin()
    burdened.walks.need_whole()
    burdened.walks.end(walk, [], dead=MANY, left_none=True, no_limits=True)

    assert burdened.look() == NIL


def test_two_looks_at_once_do_not_hide_what_one_of_them_left(burdened: Looks) -> None:
    new, burdened.time = burdened.walks.begin(), burdened.time + 60.0
    everything = burdened.walks.begin()
    burdened.time += 0.1
    burdened.walks.end(everything, [_lease(-60.0)], dead=MANY, left_none=False, no_limits=True)
    burdened.walks.end(new, [], dead=None, left_none=True, no_limits=True)

    assert [new.since == NIL, everything.since == NIL, burdened.look() == NIL] == [
        False,
        True,
        True,
    ]


def test_a_claim_that_follows_a_full_one_begins_where_that_one_ended(looks: Looks) -> None:
    found = [looks.fill(reached) for reached in (-9.0, -5.0, -0.05)]
    soon = looks.time - 0.1  # who commits just now made its ids a moment ago
    found.append(looks.look())

    assert found == [NIL, _id(-9.0), _id(-5.0), _id(soon)]
    assert (looks.again, looks.look(), looks.again) == (0.0, NIL, None)


def test_in_a_flow_a_claim_begins_a_moment_before_the_last_one_began(looks: Looks) -> None:
    found: list[bytes] = []
    again: list[float | None] = []
    for at in (0.0, 0.1, 0.2, 0.3):
        looks.time = at
        found.append(looks.look(made_at=[at] * 20))
        again.append(looks.again)
    looks.time = 0.4
    found.append(looks.look())
    again.append(looks.again)

    assert found == [NIL, _id(-0.1), _id(0.0), NIL, _id(0.2)]
    # Who was slow to commit is found when everything is looked at, also where nothing follows. That
    # is at once where nothing was leased: lanes with limits were left alone, and not told of.
    assert again == [None, *(pytest.approx(left) for left in (0.15, 0.05)), None, 0.0]


@pytest.mark.parametrize("why", ["time", "old", "few", "unknown", "whole", "poll"])
def test_no_claim_follows(looks: Looks, why: str) -> None:
    looks.fill(-9.0)
    if why == "time":
        looks.fill(-5.0)
        looks.time += 0.26
    elif why == "old":
        looks.walks.need_whole()
    elif why in {"few", "unknown"}:
        reached = None if why == "unknown" else _id(-5.0)
        looks.look(made_at=[-5.0] * (20 if why == "unknown" else 19), leaves=True, reached=reached)

    assert looks.walks.begin(whole=why == "whole", poll=why == "poll").since == NIL


def test_beside_dead_rows_what_follows_is_followed_by_a_look_at_what_is_new(
    burdened: Looks,
) -> None:
    burdened.time = 5.0
    found = [burdened.fill(4.0), burdened.fill(4.5), burdened.look(), burdened.look()]

    assert found == [_since(0.0), _id(4.0), _id(4.5), _since(0.0)]
