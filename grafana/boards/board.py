"""A dashboard as it is written down: sections of rows of panels, placed on Grafana's grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, GridPos

from boards import link, variable
from boards.listing import Listing
from boards.panel import Bars, Figure, Graph, HeatMap

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH: Final = 24
HEIGHTS: Final = {"stat": 3, "timeseries": 8, "heatmap": 9, "bargauge": 8, "table": 8}
ROW_IDS: Final = 1000  # the headings' ids begin here, out of the panels' way

Panel = Figure | Graph | HeatMap | Bars | Listing


class Section(msgspec.Struct, frozen=True):
    """A heading, or none, and rows of up to four panels that share a row's width evenly."""

    title: str
    rows: tuple[tuple[Panel, ...], ...]


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All that is particular to one dashboard."""

    uid: str
    description: str
    variables: tuple[Callable[[], Builder[dashboard.VariableModel]], ...]
    sections: tuple[Section, ...]
    since: str = "now-1h"


def build(board: Board) -> dashboard.Dashboard:
    """Build a dashboard as Grafana reads it."""
    built = (
        Dashboard(link.TITLES[board.uid])
        .uid(board.uid)
        .description(board.description)
        .tags([link.TAG])
        .timezone("browser")
        .time(board.since, "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
        .variables([variable.source(), *(make() for make in board.variables), variable.runbooks()])
        .links(link.menu())
        .build()
    )
    built.annotations = dashboard.AnnotationContainer(list_val=[_alerts()])
    built.panels = list(_placed(board.sections))
    for chosen in built.templating.list_val or ():
        # Fields of intervals alone: the SDK writes them for every kind of variable.
        chosen.auto = chosen.auto_min = chosen.auto_count = None
    return built


def _placed(sections: tuple[Section, ...]) -> Iterator[dashboard.Panel | dashboard.RowPanel]:
    y = 0
    for number, section in enumerate(sections):
        if section.title:
            heading = Row(section.title).id(ROW_IDS + number)
            yield heading.grid_pos(GridPos(x=0, y=y, w=WIDTH, h=1)).build()
            y += 1
        for row in section.rows:
            panels = [each.build() for each in row]
            height = max(HEIGHTS[panel.type_val] for panel in panels)
            width = WIDTH // len(panels)
            for place, panel in enumerate(panels):
                panel.grid_pos = GridPos(x=place * width, y=y, w=width, h=height)
                yield panel
            y += height


class _Alerts(dashboard.AnnotationQuery):
    # The SDK has no fields for what Prometheus' own annotations are called and tagged by.
    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "titleFormat": "{{alertname}}", "tagKeys": "severity"}


def _alerts() -> dashboard.AnnotationQuery:
    firing = 'ALERTS{alertstate="firing", alertname=~"SignalStack.*", job=~"$job|"}'
    return _Alerts(
        name="Firing alerts",
        datasource=variable.SOURCE,
        enable=True,
        hide=False,
        icon_color="red",
        expr=f"max by (alertname, severity) ({firing})",
    )
