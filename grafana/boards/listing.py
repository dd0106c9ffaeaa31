"""The one kind of panel that is a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from boards.link import Link, drawn
from boards.query import Query, merged, targets
from boards.threshold import NEUTRAL, Steps, thresholds, unknown
from boards.variable import SOURCE

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Panel as Built


class Listing(msgspec.Struct, frozen=True):
    """A table with a row for each set of labels, and a column with its look for each query."""

    number: int
    title: str
    queries: Sequence[Query]
    text: str
    columns: Mapping[str, tuple[str, Steps]]
    links: tuple[Link, ...] = ()
    drills: Mapping[str, tuple[Link, ...]] = {}  # from a column

    def build(self) -> Built:
        """Write it as Grafana does."""
        panel = (
            table.Panel()
            .id(self.number)
            .title(self.title)
            .description(self.text)
            .datasource(SOURCE)
            .targets(targets(*self.queries))
            .transformations(list(merged(self.queries)))
            .filterable(True)
            .show_header(True)
            .links(drawn(self.links))
        )
        for name, (unit, steps) in self.columns.items():
            panel = panel.override_by_name(name, _look(unit, steps))
        for name, links in self.drills.items():
            leads = [link.build() for link in drawn(links)]
            panel = panel.override_by_name(name, [DynamicConfigValue("links", leads)])
        return panel.build()


def _look(unit: str, steps: Steps) -> list[DynamicConfigValue]:
    look = [DynamicConfigValue("unit", unit), DynamicConfigValue("mappings", [unknown()])]
    if steps != NEUTRAL:
        look.append(DynamicConfigValue("thresholds", thresholds(steps).build()))
        look.append(DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return look
