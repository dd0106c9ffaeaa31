"""Sums over processes: what happened in a second, in all of them together."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.top.reading import Change


def add(changes: Sequence[Change], name: str, *by: str) -> dict[tuple[str, ...], float]:
    """Add up the rates (1/s) of the counters of this name, grouped by these labels.

    Each process has its own interval: one that was away for a while has a longer one.
    """
    rates: dict[tuple[str, ...], float] = defaultdict(float)
    for change in changes:
        for key, grown in change.growth(name, *by).items():
            rates[key] += grown / change.elapsed_s
    return rates


def sum_of(changes: Sequence[Change], name: str) -> float:
    """Add up the rates (1/s) of all counters of this name."""
    return sum(add(changes, name).values())


def buckets(
    changes: Sequence[Change], name: str, *by: str
) -> dict[tuple[str, ...], dict[float, float]]:
    """Count what fell into a histogram's buckets: cumulative counts by upper bound, in groups."""
    counts: dict[tuple[str, ...], dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for change in changes:
        for (bound, *key), grown in change.growth(f"{name}_bucket", "le", *by).items():
            counts[tuple(key)][float(bound or math.inf)] += grown
    return counts
