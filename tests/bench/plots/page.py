"""Owns the parts of docs/performance.md that come of reports: between marks, a part each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.growth.table import TITLES, markdown
from bench.peers.table import markdown as peers_markdown
from bench.peers.table import markdown_targets, told_pace

if TYPE_CHECKING:
    from bench.growth.figures import Report as Growth
    from bench.peers.figures import Report as Peers
    from signalstack.bench.figure import Machine


def with_growth(page: str, report: Growth) -> str:
    """Put the axes that were measured into the page."""
    for axis, points in report.axes.items():
        picture = f"![{TITLES[axis]}](figures/growth-{axis}.svg)\n"
        told = f"{_made(report.machine, f'{report.at:%Y-%m-%d}', report.seconds[axis])}\n"
        page = between(page, f"growth {axis}", f"\n{picture}\n{told}\n{markdown(axis, points)}\n")
    return page


def with_peers(page: str, report: Peers) -> str:
    """Put the tables beside others, and of the targets, into the page."""
    made = _made(report.machine, f"{report.at:%Y-%m-%d}", report.seconds)
    told = f"{made} {told_pace(report)}.\n"
    picture = "![beside others](figures/peers.svg)\n"
    page = between(page, "targets", f"\n{markdown_targets(report)}\n")
    return between(page, "peers", f"\n{picture}\n{told}\n{peers_markdown(report)}\n")


def between(page: str, name: str, part: str) -> str:
    """Give the page back with another part between the marks of this name.

    Raises:
        ValueError: the page lacks the marks.
    """
    start, end = f"<!-- {name}: `make plots` writes it -->\n", f"<!-- /{name} -->\n"
    if start not in page or end not in page:
        raise ValueError(f"the page has no marks for {name}")
    head, _, rest = page.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}{part}{end}{tail}"


def _made(machine: Machine, day: str, seconds: float) -> str:
    return (
        f"{day}, {machine.cpus} CPUs, PostgreSQL {machine.postgresql}, Python {machine.python},"
        f" {seconds:,.0f} s."
    )
