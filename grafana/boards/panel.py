"""The kinds of panels, written down as data, and the words that every panel must have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import FieldColorModeId
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale

from boards.link import Link, drawn
from boards.query import Query, targets
from boards.threshold import NEUTRAL, Steps, thresholds, unknown
from boards.variable import SOURCE

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Panel as Built

SECONDS: Final = "s"
SHARE: Final = "percentunit"
NUMBER: Final = "short"
BYTES: Final = "bytes"
JOBS_PER_S: Final = "suffix: jobs/s"
PER_S: Final = "suffix: /s"
S_PER_S: Final = "suffix: s/s"
CORES: Final = "suffix: cores"
SMALLEST_S: Final = 0.0001  # where a logarithmic axis begins: it has no zero

_STACKS: Final = {
    "no": StackingMode.NONE,
    "sum": StackingMode.NORMAL,
    "share": StackingMode.PERCENT,
}


def says(means: str, good: str, act: str) -> str:
    """Say what a panel shows, what it shows on a good day and what to do on another."""
    return f"{means}\n\n**Good:** {good}\n\n**Otherwise:** {act}"


class Figure(msgspec.Struct, frozen=True):
    """One number, with its course behind it unless it is asked for at one instant."""

    number: int
    title: str
    expression: str
    text: str
    unit: str = NUMBER
    steps: Steps = NEUTRAL
    decimals: int | None = None
    instant: bool = False
    links: tuple[Link, ...] = ()

    def build(self) -> Built:
        """Write it as Grafana does."""
        panel = (
            stat.Panel()
            .id(self.number)
            .title(self.title)
            .description(self.text)
            .datasource(SOURCE)
            .targets(targets(Query(self.expression, self.title, instant=self.instant)))
            .unit(self.unit)
            .mappings([unknown()])
            .thresholds(thresholds(self.steps))
            .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
            .color_mode(BigValueColorMode.VALUE)
            .graph_mode(BigValueGraphMode.NONE if self.instant else BigValueGraphMode.AREA)
            .reduce_options(_last())
            .links(drawn(self.links))
        )
        return (panel if self.decimals is None else panel.decimals(self.decimals)).build()


class Graph(msgspec.Struct, frozen=True):
    """Courses over time; a threshold is a dashed line, and a table names courses that are many."""

    number: int
    title: str
    queries: Sequence[Query]
    text: str
    unit: str = NUMBER
    steps: Steps = NEUTRAL
    stack: Literal["no", "sum", "share"] = "no"
    logarithmic: bool = False
    top: float | None = None
    links: tuple[Link, ...] = ()
    drills: tuple[Link, ...] = ()  # from a course

    def build(self) -> Built:
        """Write it as Grafana does."""
        dashed, off = GraphThresholdsStyleMode.DASHED, GraphThresholdsStyleMode.OFF
        style = common.GraphThresholdsStyleConfig().mode(off if self.steps == NEUTRAL else dashed)
        tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
        panel = (
            timeseries.Panel()
            .id(self.number)
            .title(self.title)
            .description(self.text)
            .datasource(SOURCE)
            .targets(targets(*self.queries))
            .unit(self.unit)
            .min(SMALLEST_S if self.logarithmic else 0)
            .thresholds(thresholds(self.steps))
            .thresholds_style(style)
            .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
            .line_width(1)
            .fill_opacity(10 if self.stack == "no" else 35)
            .show_points(VisibilityMode.NEVER)
            .stacking(common.StackingConfig().group("A").mode(_STACKS[self.stack]))
            .legend(self._legend())
            .tooltip(tooltip.sort(SortOrder.DESCENDING))
            .data_links(drawn(self.drills))
            .links(drawn(self.links))
        )
        if self.logarithmic:
            scale = common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)
            panel = panel.scale_distribution(scale)
        return (panel if self.top is None else panel.max(self.top)).build()

    def _legend(self) -> common.VizLegendOptions:
        many = len(self.queries) > 1 or any("{{" in query.legend for query in self.queries)
        legend = common.VizLegendOptions().placement(LegendPlacement.BOTTOM).show_legend(many)
        if not many:
            return legend.display_mode(LegendDisplayMode.LIST).calcs([])
        by_last = legend.display_mode(LegendDisplayMode.TABLE).sort_by("Last *").sort_desc(True)
        return by_last.calcs(["lastNotNull", "max"])


class HeatMap(msgspec.Struct, frozen=True):
    """How the buckets of a histogram fill over time, with exemplars as dots."""

    number: int
    title: str
    expression: str
    text: str
    links: tuple[Link, ...] = ()

    def build(self) -> Built:
        """Write it as Grafana does."""
        colours = (
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
            .fill("dark-orange")
            .reverse(False)
        )
        return (
            heatmap.Panel()
            .id(self.number)
            .title(self.title)
            .description(self.text)
            .datasource(SOURCE)
            .targets(targets(Query(self.expression, "{{le}}", exemplar=True, buckets=True)))
            .calculate(False)
            .color(colours)
            .cell_gap(1)
            .cell_values(heatmap.CellValues().unit(JOBS_PER_S))
            .filter_values(heatmap.FilterValueRange().le(1e-9))
            .y_axis(heatmap.YAxisConfig().unit(SECONDS).reverse(False))
            .exemplars_color("rgba(255,0,255,0.7)")
            .mode(TooltipDisplayMode.SINGLE)
            .show_y_histogram()
            .hide_legend()
            .links(drawn(self.links))
            .build()
        )


class Bars(msgspec.Struct, frozen=True):
    """A few numbers as bars, side by side."""

    number: int
    title: str
    queries: Sequence[Query]
    text: str
    unit: str = SECONDS
    steps: Steps = NEUTRAL
    links: tuple[Link, ...] = ()

    def build(self) -> Built:
        """Write it as Grafana does."""
        return (
            bargauge.Panel()
            .id(self.number)
            .title(self.title)
            .description(self.text)
            .datasource(SOURCE)
            .targets(targets(*self.queries))
            .unit(self.unit)
            .min(0)
            .mappings([unknown()])
            .thresholds(thresholds(self.steps))
            .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
            .display_mode(BarGaugeDisplayMode.BASIC)
            .orientation(VizOrientation.HORIZONTAL)
            .show_unfilled(True)
            .reduce_options(_last())
            .links(drawn(self.links))
            .build()
        )


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)
