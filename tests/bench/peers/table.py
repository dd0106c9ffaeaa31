"""Shows a report to people: one row a figure, one column a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from bench.peers.figures import (
    POSTGRESQL,
    TARGETS,
    TASKIQ,
    TITLES,
    Medians,
    in_rounds,
    ratio,
    write,
)
from bench.peers.roster import PEERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bench.peers.figures import Report


def show(report: Report, console: Console) -> None:
    """Print the medians and ratios, then the verdicts."""
    machine = report.machine
    console.print(
        f"PostgreSQL {machine.postgresql}, fsync on · Python {machine.python} · {machine.cpus} CPUs"
        f" · {report.seconds:.0f} s{' · quick' if report.quick else ''}",
        highlight=False,
    )
    console.print(told_pace(report), highlight=False)
    console.print(" · ".join(f"{name} {number}" for name, number in report.versions.items()))
    console.print(_table(report))
    for verdict in report.verdicts:
        mark = "[green]met   [/]" if verdict.met else "[red]missed[/]"
        console.print(f"{mark}  {verdict.target}: {verdict.reached}", highlight=False)
    for failure in report.failed:
        console.print(f"[red]failed[/]  {failure}", highlight=False)


def told_pace(report: Report) -> str:
    """Say how steady the machine was."""
    share = f"{100 * report.slow_share:.1f} %"
    return f"CPUs ran at less than a third of their pace for {share} of the time"


def markdown(report: Report) -> str:
    """Write the table of medians, ratios and all."""
    head, *rows = _cells(report)
    return _lines([head, ["---", *["---:"] * (len(head) - 1)], *rows])


def markdown_targets(report: Report) -> str:
    """Write what was reached of each target, and in each round by itself."""
    texts = {target.text: target for target in TARGETS}
    rows = [["target", "", "reached", "in the rounds"], ["---"] * 4]
    for verdict in report.verdicts:
        target = texts[verdict.target]
        each = in_rounds(report.figures, target)
        rounds = " · ".join(
            f"{value:.2f}" if target.against else write(value, target.figure) for value in each
        )
        rows.append(
            [verdict.target, "met" if verdict.met else "**missed**", verdict.reached, rounds]
        )
    return _lines(rows)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _table(report: Report) -> Table:
    (first, *titles), *rows = _cells(report)
    table = Table(box=box.SIMPLE_HEAD, title="Medians, beside others", title_justify="left")
    table.add_column(first)
    for title in titles:
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _cells(report: Report) -> list[list[str]]:
    """Lay out the head, and a row a figure that was measured."""
    titles = {peer.name: peer.title for peer in PEERS} | report.builds
    names = [name for name in titles if name in report.figures]
    medians = {
        name: {figure: found.value for figure, found in figures.items()}
        for name, figures in report.figures.items()
    }
    rows = [["", *(titles[name] for name in names), "to best PostgreSQL", "to TaskIQ"]]
    for figure, title in TITLES.items():
        cells = [_number(medians[name].get(figure), figure) for name in names]
        if any(cells):
            ratios = [_times(medians, figure, among) for among in (POSTGRESQL, TASKIQ)]
            rows.append([title, *cells, *ratios])
    return rows


def _number(value: float | None, figure: str) -> str:
    return "" if value is None else write(value, figure)


def _times(medians: Medians, figure: str, among: Sequence[str]) -> str:
    value = ratio(medians, figure, among)
    return "" if value is None else f"{value:.2f}"
