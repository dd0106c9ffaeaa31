"""Backoff: bounded, growing, spread, and never at once."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalstack.core.retry import FLOOR, backoff

DRAWS = st.floats(0, 1, exclude_max=True)
SPANS = st.just(0.0) | st.floats(1e-3, 1e6)


@given(st.integers(1, 10_000), SPANS, SPANS, DRAWS)
def test_a_wait_lies_between_its_floor_and_its_ceiling(
    attempt: int, base_s: float, max_s: float, draw: float
) -> None:
    ceiling = min(max_s, base_s * 2 ** min(attempt - 1, 900))

    wait = backoff(attempt, base_s=base_s, max_s=max_s, rng=lambda: draw)

    assert 0 <= FLOOR * ceiling * 0.999999 <= wait <= ceiling


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (10_000, 60)]
)
def test_the_ceiling_doubles_up_to_its_maximum(attempt: int, ceiling: float) -> None:
    largest = backoff(attempt, base_s=1, max_s=60, rng=lambda: 1.0)
    smallest = backoff(attempt, base_s=1, max_s=60, rng=lambda: 0.0)

    assert largest == pytest.approx(ceiling)
    assert smallest == pytest.approx(ceiling * FLOOR)


def test_a_crowd_spreads_over_the_whole_range() -> None:
    rng = Random(7)  # noqa: S311 - a fixed seed, nothing secret

    waits = [backoff(4, base_s=1, max_s=60, rng=rng.random) for _ in range(1_000)]

    tenths = [sum(0.8 * n < wait <= 0.8 * (n + 1) for wait in waits) for n in range(1, 10)]
    assert min(tenths) > 70


def test_a_base_beyond_the_doubles_is_still_bounded() -> None:
    assert backoff(10_000, base_s=1e300, max_s=60, rng=lambda: 0.5) == pytest.approx(33)
