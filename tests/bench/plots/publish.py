"""Makes the pictures in docs/figures and the tables of docs/performance.md of what runs found.

    make plots ARGS='bench-growth.json bench-peers.json'

Several reports of growth may have taken an axis or two each. What was not measured stays as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click
import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script's own folder comes first otherwise

from bench.growth.figures import Report as Growth
from bench.growth.figures import merge
from bench.peers.figures import Report as Peers
from bench.plots import page
from bench.plots.draw import draw
from bench.plots.pictures import of_growth, of_peers

_DOCS: Final = Path(__file__).parents[3] / "docs"


@click.command()
@click.option(
    "--docs",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=_DOCS,
    help="The folder of performance.md and figures/.",
)
@click.argument(
    "reports", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
def main(*, docs: Path, reports: tuple[Path, ...]) -> None:
    """Draw what REPORTS of bench-growth and bench-peers say, and put it into the page."""
    growths, peers = _read(reports)
    pictures = [*(of_growth(merge(growths)) if growths else ()), *map(of_peers, peers[-1:])]
    figures = docs / "figures"
    figures.mkdir(exist_ok=True)
    for picture in pictures:
        if picture.charts:  # a part of a report may have nothing to compare
            click.echo(draw(picture, figures))
    file = docs / "performance.md"
    text = file.read_text()
    if growths:
        text = page.with_growth(text, merge(growths))
    if peers:
        text = page.with_peers(text, peers[-1])
    file.write_text(text)
    click.echo(file)


def _read(reports: tuple[Path, ...]) -> tuple[list[Growth], list[Peers]]:
    growths: list[Growth] = []
    peers: list[Peers] = []
    for path in reports:
        try:
            growths.append(msgspec.json.decode(path.read_bytes(), type=Growth))
        except msgspec.ValidationError:
            peers.append(msgspec.json.decode(path.read_bytes(), type=Peers))
    return growths, peers


if __name__ == "__main__":
    main()
