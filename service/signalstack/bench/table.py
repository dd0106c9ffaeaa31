"""Shows a report to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from signalstack.bench.figure import Figure, Report


def show(report: Report, console: Console) -> None:
    """Print the figures as tables, then the verdicts."""
    machine = report.machine
    console.print(
        f"SignalStack {report.version} · PostgreSQL {machine.postgresql} · Python {machine.python}"
        f" · {machine.cpus} CPUs · {report.seconds:.0f} s{' · quick' if report.quick else ''}",
        highlight=False,
    )
    by_name = {figure.name: figure for figure in report.figures}
    if any(figure.unit == "ms" for figure in report.figures):
        console.print(_latencies(report, by_name))
    if any(figure.unit == "1/s" for figure in report.figures):
        console.print(_rates(report, by_name))
    for verdict in report.verdicts:
        mark = "[green]reached[/]" if verdict.met else "[red]missed [/]"
        console.print(f"{mark}  {verdict.target}: {verdict.reached}", highlight=False)


def _latencies(report: Report, by_name: Mapping[str, Figure]) -> Table:
    table = _table("Latency, ms", "p50", "p95", "p99", "floor's p50", "ratio")
    for figure in report.figures:
        if figure.unit != "ms":
            continue
        floor = by_name.get(figure.floor or "")
        table.add_row(
            figure.title,
            f"{figure.value:.2f}",
            f"{figure.p95 or 0:.2f}",
            f"{figure.p99 or 0:.2f}",
            "" if floor is None else f"{floor.value:.2f}",
            "" if floor is None else f"{figure.value / floor.value:.1f}",
            style="dim" if figure.floor is None else "",
        )
    return table


def _rates(report: Report, by_name: Mapping[str, Figure]) -> Table:
    table = _table("Throughput, 1/s", "median", "least", "most", "floor", "ratio")
    for figure in report.figures:
        if figure.unit != "1/s":
            continue
        floor = by_name.get(figure.floor or "")
        table.add_row(
            figure.title,
            f"{figure.value:,.0f}",
            f"{min(figure.runs):,.0f}",
            f"{max(figure.runs):,.0f}",
            "" if floor is None else f"{floor.value:,.0f}",
            "" if floor is None else f"{figure.value / floor.value:.2f}",
            style="dim" if figure.floor is None else "",
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column(first, no_wrap=True)
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    return table
