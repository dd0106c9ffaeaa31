"""Token buckets: what they let through, what they tell, and what they remember."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from signalstack.core.token_bucket import Rate, TokenBuckets


def test_a_full_bucket_gives_its_burst_and_then_one_for_each_interval() -> None:
    buckets = TokenBuckets(Rate(per_s=10, burst=20))

    at_once = [buckets.take("a", 5.0) for _ in range(21)]

    assert [grant.left for grant in at_once] == [*range(19, -1, -1), 0]
    assert [grant.granted for grant in at_once] == [True] * 20 + [False]
    assert round(at_once[-1].next_s, 2) == 0.1
    assert round(at_once[-1].full_s, 2) == 2.0
    assert buckets.take("a", 5.1).granted
    assert not buckets.take("a", 5.1).granted


def test_names_do_not_share_a_bucket() -> None:
    buckets = TokenBuckets(Rate(per_s=1, burst=1))

    assert buckets.take("a", 0.0).granted
    assert buckets.take("b", 0.0).granted
    assert not buckets.take("a", 0.0).granted


@given(
    rate=st.builds(Rate, per_s=st.integers(1, 1_000), burst=st.integers(1, 1_000)),
    pauses=st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
    start=st.floats(0, 1e6),
)
def test_no_stretch_of_time_gives_more_than_its_share(
    rate: Rate, pauses: list[float], start: float
) -> None:
    buckets = TokenBuckets(rate)
    now, granted = start, 0
    for pause in pauses:
        now += pause
        granted += buckets.take("a", now).granted

    most = rate.burst + (now - start) * rate.per_s
    assert granted <= most + 0.01
    assert granted >= min(len(pauses), rate.burst)


def test_memory_is_bounded_and_full_buckets_go_first() -> None:
    buckets = TokenBuckets(Rate(per_s=1, burst=5), limit=3)
    for name in "aaab":
        buckets.take(name, 0.0)
    buckets.take("c", 1.5)

    buckets.take("d", 1.5)  # b is full again by now, and forgotten
    assert len(buckets) == 3
    assert buckets.take("a", 1.5).left == 2

    for n in range(100):
        buckets.take(str(n), 1.5)
    assert len(buckets) == 3


def test_when_all_are_in_use_the_oldest_is_forgotten() -> None:
    buckets = TokenBuckets(Rate(per_s=1, burst=1), limit=2)

    granted = Counter(name for name in "abca" if buckets.take(name, 0.0).granted)

    assert granted == {"a": 2, "b": 1, "c": 1}
