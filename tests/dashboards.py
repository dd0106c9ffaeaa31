"""Reads the dashboards as Grafana will: their panels, and what they ask Prometheus.

for asked in dashboards.asked():
    await query(asked.expression)  # variables are substituted
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).parents[1] / "grafana" / "dashboards"

# "All" of each choice, the longest budget window, and ranges that fit a service just started.
CHOICES: Final = {
    "job": ".*",
    "instance": ".*",
    "queue": ".*",
    "type": ".*",
    "window": "30d",
    "__rate_interval": "1m",
    "__range": "5m",
}


class Place(msgspec.Struct, frozen=True):
    """Where a panel stands on a grid of 24 columns."""

    x: int
    y: int
    w: int
    h: int


class Link(msgspec.Struct, frozen=True):
    """Where a panel, or a series in it, leads."""

    title: str
    url: str = ""


class Target(msgspec.Struct, frozen=True):
    """One question of a panel."""

    expr: str


class Threshold(msgspec.Struct, frozen=True):
    """A colour and where it begins."""

    color: str
    value: float | None = None


class Thresholds(msgspec.Struct, frozen=True):
    """All colours of a panel."""

    steps: list[Threshold] = []


class Defaults(msgspec.Struct, frozen=True):
    """How a panel shows its values."""

    unit: str = ""
    thresholds: Thresholds = Thresholds()
    links: list[Link] = []


class Fields(msgspec.Struct, frozen=True):
    """The look of values, and of those that differ."""

    defaults: Defaults = Defaults()
    overrides: list[msgspec.Raw] = []


class Panel(msgspec.Struct, frozen=True, rename="camel"):
    """One panel, or the heading of a section."""

    id: int
    type: str
    title: str
    grid_pos: Place
    description: str = ""
    targets: list[Target] = []
    links: list[Link] = []
    field_config: Fields = Fields()
    options: Mapping[str, msgspec.Raw] = {}


class Variable(msgspec.Struct, frozen=True, rename="camel"):
    """A choice at the top of a dashboard; `all_value` is what stands for all, if not the list."""

    name: str
    all_value: str | None = None


class Named(msgspec.Struct, frozen=True):
    """What is drawn over all graphs."""

    name: str
    expr: str = ""


class Variables(msgspec.Struct, frozen=True):
    """The choices of a dashboard."""

    entries: list[Variable] = msgspec.field(name="list")


class Annotations(msgspec.Struct, frozen=True):
    """What a dashboard draws over its graphs."""

    entries: list[Named] = msgspec.field(name="list")


class Board(msgspec.Struct, frozen=True):
    """One dashboard."""

    uid: str
    title: str
    description: str
    panels: list[Panel]
    templating: Variables
    annotations: Annotations
    tags: list[str]

    @property
    def asking(self) -> list[Panel]:
        """Its panels without the headings."""
        return [panel for panel in self.panels if panel.type != "row"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One expression of one panel, ready to be evaluated."""

    board: str
    panel: str
    number: int
    expression: str

    def __str__(self) -> str:
        return f"{self.board}#{self.number} {self.panel}: {self.expression}"


def boards() -> list[Board]:
    """Read all dashboards."""
    return [
        msgspec.json.decode(path.read_bytes(), type=Board) for path in sorted(FOLDER.glob("*.json"))
    ]


def asked(choices: Mapping[str, str] = CHOICES) -> Iterator[Asked]:
    """Yield what each panel asks, with these choices in the place of variables."""
    for board in boards():
        for panel in board.asking:
            for target in panel.targets:
                yield Asked(
                    board=board.uid,
                    panel=panel.title,
                    number=panel.id,
                    expression=substituted(target.expr, choices),
                )


def substituted(expression: str, choices: Mapping[str, str] = CHOICES) -> str:
    """Put choices in the place of variables; a variable without one is a KeyError."""
    return re.sub(r"\$(\w+)", lambda found: choices[found[1]], expression)
