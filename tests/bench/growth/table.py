"""Shows a report to people: a table an axis, on a terminal or as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table

from bench.growth.figures import knee

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bench.growth.figures import Point, Report

TITLES: Final = {
    "backlog": "waiting jobs of others",
    "history": "finished jobs",
    "tenants": "tenants",
    "workers": "worker processes",
    "horizon": "seconds since a transaction began",
}
FIGURES: Final = {
    "steady.p50": "200/s, p50 ms",
    "steady.p99": "200/s, p99 ms",
    "idle.total.p50": "idle, p50 ms",
    "idle.total.p99": "idle, p99 ms",
    "idle.empty": "idle, empty claims a job",
    "drain.rate": "drain, jobs/s",
    "drain.empty": "drain, empty claims a job",
}
_UNCHANGED: Final = "never"
_KNEE: Final = "twice as bad from"


def show(report: Report, console: Console) -> None:
    """Print a table an axis, and what failed."""
    machine = report.machine
    console.print(
        f"SignalStack {report.version} · PostgreSQL {machine.postgresql}, fsync on"
        f" · Python {machine.python} · {machine.cpus} CPUs{' · quick' if report.quick else ''}",
        highlight=False,
    )
    for axis, points in report.axes.items():
        head, *rows = _cells(axis, points)
        table = Table(box=box.SIMPLE_HEAD, title=f"{axis}, {report.seconds[axis]:.0f} s")
        for column in head:
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for failure in report.failed:
        console.print(f"[red]failed[/]  {failure}", highlight=False)


def markdown(axis: str, points: Sequence[Point]) -> str:
    """Write the table of one axis."""
    head, *rows = _cells(axis, points)
    lines = [head, ["---:"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(axis: str, points: Sequence[Point]) -> list[list[str]]:
    """Lay out the head, a row a point, and where each figure is twice as bad as at first."""
    figures = [name for name in FIGURES if any(name in point.figures for point in points)]
    last = max((point.x for point in points if point.held), default=None)
    rows = [[_place(point, last), *(_number(point, name) for name in figures)] for point in points]
    knees = [knee(points, name) for name in figures]
    return [
        [TITLES[axis], *(FIGURES[name] for name in figures)],
        *rows,
        [_KNEE, *(_UNCHANGED if at is None else f"{at:,.0f}" for at in knees)],
    ]


def _place(point: Point, last: float | None) -> str:
    ended = last is not None and point.x > last
    return f"{point.x:,.0f}{' (it has ended)' if ended else ''}"


def _number(point: Point, name: str) -> str:
    found = point.figures.get(name)
    if found is None:
        return ""
    return f"{found.value:,.0f}" if name == "drain.rate" else f"{found.value:,.2f}"
