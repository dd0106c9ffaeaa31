"""Quantiles of what fell into a histogram's buckets, and how sure they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Quantile(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: about so many, or no more than the first bound, or above the last one."""

    seconds: float
    bound: Literal["about", "at most", "above"] = "about"


def quantile(q: float, buckets: Mapping[float, float]) -> Quantile | None:
    """Estimate the quantile `q` (0 to 1) from cumulative counts by upper bound; None for no counts.

    Within a bucket, values are taken to be spread evenly, as Prometheus takes them. The first
    bucket has no lower end worth the name and the last no upper: they give a bound instead.
    """
    bounds = sorted(buckets)
    if not bounds or not math.isinf(bounds[-1]) or len(bounds) == 1 or buckets[bounds[-1]] <= 0:
        return None
    rank = q * buckets[bounds[-1]]
    low, below = 0.0, 0.0
    for bound in bounds[:-1]:
        # Never less than the bucket before: targets of two builds may have other bounds.
        count = max(buckets[bound], below)
        if count >= rank and count > 0:
            if bound == bounds[0]:
                return Quantile(seconds=bound, bound="at most")
            share = (rank - below) / (count - below) if count > below else 1.0
            return Quantile(seconds=low + (bound - low) * share)
        low, below = bound, count
    return Quantile(seconds=low, bound="above")
