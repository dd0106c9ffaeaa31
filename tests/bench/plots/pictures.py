"""Owns what is drawn of a report: which figures on which axes. Drawing itself is `draw.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from bench.growth.table import TITLES
from bench.peers.roster import OURS, PEERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.growth.figures import Point
    from bench.growth.figures import Report as Growth
    from bench.peers.figures import Report as Peers

Scale = Literal["linear", "log2", "log10"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line, or one row of dots."""

    name: str
    x: list[float]
    y: list[float]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Lines over a common axis; `y` is logarithmic. `shaded` is a stretch of x that is marked."""

    title: str
    x_title: str
    lines: list[Line]
    scale: Scale = "log10"
    shaded: tuple[float, float] | None = None


class Dots(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of several peers on a logarithmic axis; the first is ours."""

    title: str
    names: list[str]
    values: list[float]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One file: charts beside each other, `columns` in a row."""

    name: str
    charts: list[Chart] | list[Dots]
    columns: int = 3


_GROUPS: Final = {
    "latency at 200 jobs/s, ms": {"steady.p50": "p50", "steady.p99": "p99"},
    "latency at idle, ms": {"idle.total.p50": "p50", "idle.total.p99": "p99"},
    "drained jobs/s": {"drain.rate": "1/s"},
    "empty claims a job, at idle": {"idle.empty": "at idle"},
}
_PEER_FIGURES: Final = {
    "idle.total.p50": "idle, p50 ms",
    "idle.total.p99": "idle, p99 ms",
    "steady.p99": "at 200 jobs/s, p99 ms",
    "drain.1": "drained jobs/s, 1 worker",
    "drain.2": "drained jobs/s, 2 workers",
    "grown.drain.1": "drained, grown, 1 worker",
    "create.1": "created jobs/s, 1 caller",
    "create.batch": "created jobs/s, 1,000 a call",
    "create.64": "created jobs/s, 64 callers",
}


def of_growth(report: Growth) -> list[Picture]:
    """Make a picture of each axis."""
    return [
        Picture(name=f"growth-{axis}", charts=_charts(axis, points))
        for axis, points in report.axes.items()
    ]


def of_peers(report: Peers) -> Picture:
    """Make one picture of what is held against others."""
    known = [peer for peer in PEERS if peer.name in report.figures]
    known.sort(key=lambda peer: peer.name != OURS)
    charts: list[Dots] = []
    for figure, title in _PEER_FIGURES.items():
        told = [
            (peer.title, report.figures[peer.name][figure].value)
            for peer in known
            if figure in report.figures[peer.name]
        ]
        if len(told) > 1:
            names, values = zip(*told, strict=True)
            charts.append(Dots(title=title, names=[*names], values=[*values]))
    return Picture(name="peers", charts=charts)


def short(number: float) -> str:
    """Write 5,000,000 as 5 M."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if abs(number) >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:g}"


def _charts(axis: str, points: Sequence[Point]) -> list[Chart]:
    moments = axis == "horizon"
    last = max((point.x for point in points if point.held), default=0.0)
    return [
        Chart(
            title=title,
            x_title=TITLES[axis],
            lines=lines,
            scale="linear" if moments else "log2" if axis == "workers" else "log10",
            shaded=(0.0, last) if moments else None,
        )
        for title, names in _GROUPS.items()
        if (
            lines := [line for name, label in names.items() if (line := _line(points, name, label))]
        )
    ]


def _line(points: Sequence[Point], figure: str, label: str) -> Line | None:
    known = [(point.x, point.figures[figure].value) for point in points if figure in point.figures]
    if not known:
        return None
    return Line(name=label, x=[x for x, _ in known], y=[y for _, y in known])
