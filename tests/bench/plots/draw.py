"""Draws pictures as SVG with matplotlib, which is installed for `make plots` alone.

The colours are of middle lightness, on no background: they read on white and on black pages.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.plots.pictures import Chart, short

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from bench.plots.pictures import Dots, Picture

_INK: Final = "#6e7781"
_LINES: Final = ("#3b82f6", "#e8590c")
_STYLE: Final = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _INK,
    "grid.alpha": 0.25,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "signalstack",  # the same picture is the same file
}
_WIDTH: Final = 3.3  # inches, of one chart
_HEIGHT: Final = 2.5


def draw(picture: Picture, folder: Path) -> Path:
    """Write a picture; returns the file."""
    columns = min(picture.columns, len(picture.charts))
    rows = -(-len(picture.charts) // columns)
    with mpl.rc_context(_STYLE):
        width = _WIDTH * max(columns, 2)  # a chart alone is a wide one
        figure = Figure(figsize=(width, _HEIGHT * rows), layout="constrained")
        for number, chart in enumerate(picture.charts):
            axes = figure.add_subplot(rows, columns, number + 1)
            if isinstance(chart, Chart):
                _draw_lines(axes, chart)
            else:
                _draw_dots(axes, chart)
        file = folder / f"{picture.name}.svg"
        figure.savefig(file, transparent=True, metadata={"Date": None})
    # It ends lines with blanks, which git frowns upon.
    file.write_text("".join(f"{line.rstrip()}\n" for line in file.read_text().splitlines()))
    return file


def _draw_lines(axes: Axes, chart: Chart) -> None:
    for line, colour in zip(chart.lines, _LINES, strict=False):
        axes.plot(line.x, line.y, color=colour, marker="o", markersize=3.5, label=line.name)
    axes.set_title(chart.title)
    axes.set_xlabel(chart.x_title)
    if chart.shaded:
        axes.axvspan(*chart.shaded, color=_INK, alpha=0.15, linewidth=0)
    _scale_x(axes, chart)
    _scale_y(axes, [y for line in chart.lines for y in line.y])
    if len(chart.lines) > 1:
        axes.legend(loc="best")


def _scale_x(axes: Axes, chart: Chart) -> None:
    if chart.scale == "linear":
        return
    places = sorted({x for line in chart.lines for x in line.x})
    least = min(x for x in places if x > 0)
    # A logarithmic axis with a place for none at all.
    base = 2 if chart.scale == "log2" else 10
    axes.set_xscale("symlog", linthresh=least, base=base, linscale=1 if places[0] == 0 else 0.01)
    if places[0] > 0:
        axes.set_xlim(left=least / base**0.3)
    axes.set_xticks(places, [short(x) for x in places])
    axes.xaxis.set_minor_locator(NullLocator())


def _scale_y(axes: Axes, values: list[float]) -> None:
    least, most = min(values), max(values)
    if least <= 0:  # there is a nothing that can be seen
        axes.set_ylim(bottom=0, top=max(most * 1.2, 1.0))
        return
    axes.set_yscale("log")
    axes.set_ylim(least / 2, most * 2)
    _label(axes.yaxis)


def _label(axis: Axis) -> None:
    """Name 1, 2, 5, 10 … of a logarithmic axis."""
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


def _draw_dots(axes: Axes, dots: Dots) -> None:
    places = range(len(dots.names))
    colours = [_LINES[1], *[_LINES[0]] * (len(dots.names) - 1)]
    axes.scatter(dots.values, places, c=colours, s=24, zorder=2)
    for place, value in zip(places, dots.values, strict=True):
        axes.annotate(
            _told(value), (value, place), xytext=(0, 4), textcoords="offset points",
            ha="center", fontsize=7.5,
        )  # fmt: skip
    axes.set_title(dots.title)
    axes.set_xscale("log")
    axes.set_xlim(min(dots.values) / 10**0.6, max(dots.values) * 10**0.6)
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(places, dots.names)
    axes.set_ylim(len(dots.names) - 0.4, -0.7)


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
