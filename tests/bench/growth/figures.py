"""Owns what a run of growth finds, and the arithmetic: medians, claims for nothing, the knee."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from bench.peers.figures import Found, found, lower_is_better
from signalstack.bench.figure import BenchError, Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.peers.figures import Values

WORSE: Final = 2.0
"""Twice as slow, or half as many a second, as where an axis begins: that is a knee."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker process has counted so far."""

    empty: float
    jobs: float


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at one place of an axis; `held` while a transaction was open."""

    x: float
    held: bool = False
    figures: dict[str, Found]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run; `seconds` has how long each axis took."""

    version: str
    at: datetime
    quick: bool
    machine: Machine
    seconds: dict[str, float]
    axes: dict[str, list[Point]]
    failed: list[str]


def point(x: float, rounds: Sequence[Values], *, held: bool = False) -> Point:
    """Make a point of rounds, of which each may have measured something else."""
    names = dict.fromkeys(name for values in rounds for name in values)
    return Point(
        x=x,
        held=held,
        figures={
            name: found([values[name] for values in rounds if name in values]) for name in names
        },
    )


def empty_per_job(before: Sequence[Claims], after: Sequence[Claims]) -> float:
    """Tell how many claims of all processes found nothing, for each job that they claimed.

    Raises:
        BenchError: by what they tell, they claimed none.
    """
    jobs = sum(claims.jobs for claims in after) - sum(claims.jobs for claims in before)
    empty = sum(claims.empty for claims in after) - sum(claims.empty for claims in before)
    if jobs <= 0:
        raise BenchError("the workers tell of no job that they claimed")
    return empty / jobs


def knee(points: Sequence[Point], figure: str) -> float | None:
    """Tell where a latency is first twice, or a rate half, of what it is at the first point."""
    known = [(each.x, each.figures[figure].value) for each in points if figure in each.figures]
    if not known or not known[0][1]:  # nothing is twice as much
        return None
    first = known[0][1]
    ratios = ((x, value / first) for x, value in known)
    if lower_is_better(figure):
        return next((x for x, ratio in ratios if ratio >= WORSE), None)
    return next((x for x, ratio in ratios if ratio <= 1 / WORSE), None)


def merge(reports: Sequence[Report]) -> Report:
    """Make one report of runs that took an axis or two each; the later run of an axis counts."""
    last = reports[-1]
    return Report(
        version=last.version,
        at=last.at,
        quick=any(report.quick for report in reports),
        machine=last.machine,
        seconds={name: s for report in reports for name, s in report.seconds.items()},
        axes={name: points for report in reports for name, points in report.axes.items()},
        failed=[failure for report in reports for failure in report.failed],
    )
