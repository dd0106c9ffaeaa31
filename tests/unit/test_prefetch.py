"""How far ahead a worker leases, as quick and slow jobs come and go; time is given."""

from __future__ import annotations

from typing import Final

import pytest

from signalstack.worker.prefetch import AHEAD_LIMIT, Prefetch

SLOTS: Final = 10


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A worker's slots, as far as its prefetch hears of them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.prefetch = Prefetch(SLOTS, clock=self.clock)
        self.prefetch.rest()

    def rest(self, seconds: float) -> None:
        """Have nothing to do for so long."""
        self.prefetch.rest()
        self.clock.now += seconds
        self.prefetch.resume()

    def run(self, jobs: int, *, each_s: float) -> None:
        """Run so many jobs, one after another."""
        self.clock.now += jobs * each_s
        self.prefetch.ended += jobs

    def claim(self, count: int, *, more: bool, dry: bool = True, took_s: float = 0.001) -> int:
        """Claim, and lease so many; tells how many of them were to be leased ahead."""
        ahead = self.prefetch.ahead()
        self.clock.now += took_s
        self.prefetch.claimed(count, more=more, dry=dry)
        return ahead


def test_nothing_is_leased_ahead_before_it_is_known_how_quick_jobs_are() -> None:
    assert Bench().claim(SLOTS, more=True) == 0


def test_slow_jobs_are_not_leased_ahead() -> None:
    bench, seen = Bench(), list[int]()
    for _ in range(20):
        bench.prefetch.resume()
        bench.run(SLOTS, each_s=0.05)
        seen.append(bench.claim(SLOTS, more=True))
    assert seen[-1] == 0


def test_quick_jobs_of_a_backlog_are_at_their_pace_after_a_few_claims() -> None:
    bench, room = Bench(), list[int]()
    for _ in range(8):
        bench.prefetch.resume()
        room.append(SLOTS + bench.prefetch.ahead())
        bench.clock.now += 0.001
        bench.prefetch.claimed(room[-1], more=True, dry=True)
        bench.run(room[-1], each_s=0.00001)
        bench.prefetch.rest()
    assert room[:3] == [10, 30, 50]
    assert max(room) > 500


def test_no_more_is_leased_ahead_than_the_limit() -> None:
    bench, seen = Bench(), list[int]()
    for _ in range(30):
        bench.prefetch.resume()
        bench.run(5_000, each_s=0.000001)
        seen.append(bench.claim(1_000, more=True))
    assert seen[-1] == AHEAD_LIMIT


def test_idle_time_does_not_count_as_slowness() -> None:
    bench, seen = Bench(), list[int]()
    for _ in range(20):
        bench.rest(5.0)
        bench.run(SLOTS, each_s=0.0001)
        seen.append(bench.claim(1, more=False))
    assert seen[-1] == SLOTS


@pytest.mark.parametrize(("more", "dry"), [(False, True), (True, False)])
def test_without_a_backlog_or_a_dry_slot_no_more_than_the_slots_are_leased_ahead(
    *, more: bool, dry: bool
) -> None:
    bench, seen = Bench(), list[int]()
    for _ in range(20):
        bench.prefetch.resume()
        bench.run(SLOTS, each_s=0.00001)
        seen.append(bench.claim(1, more=more, dry=dry))
    assert seen[-1] == SLOTS


def test_after_a_backlog_less_is_leased_ahead_with_each_claim_that_leaves_none() -> None:
    bench = Bench()
    for _ in range(12):
        bench.prefetch.resume()
        bench.run(1_000, each_s=0.00001)
        bench.claim(1_000, more=True)
    seen = list[int]()
    for _ in range(8):
        bench.run(SLOTS, each_s=0.00001)
        seen.append(bench.claim(1, more=False))
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == SLOTS


def test_what_was_handed_back_is_not_leased_again_at_once() -> None:
    bench = Bench()
    for _ in range(5):
        bench.prefetch.resume()
        bench.run(1_000, each_s=0.00001)
        bench.claim(1_000, more=True)
    bench.prefetch.forget()
    assert bench.claim(SLOTS, more=True) < SLOTS
