"""Colours: where a figure stops being good, and what is shown where there is none."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.dashboard import (
    DashboardSpecialValueMapOptions,
    SpecialValueMap,
    SpecialValueMatch,
    Threshold,
    ThresholdsMode,
    ValueMappingResult,
)

Steps = tuple[tuple[str, float | None], ...]

GREEN: Final = "green"
ORANGE: Final = "orange"
RED: Final = "red"
PLAIN: Final = "text"
NEUTRAL: Final[Steps] = ((PLAIN, None),)


def below(warn: float, bad: float) -> Steps:
    """Good is low: orange from the first, red from the second."""
    return ((GREEN, None), (ORANGE, warn), (RED, bad))


def under(bad: float) -> Steps:
    """Good is low, and there is nothing between good and bad."""
    return ((GREEN, None), (RED, bad))


def above(bad: float, warn: float) -> Steps:
    """Good is high: red until the first, orange until the second."""
    return ((RED, None), (ORANGE, bad), (GREEN, warn))


def exactly_one() -> Steps:
    """Good is 1."""
    return ((RED, None), (GREEN, 1), (ORANGE, 1.5))


def thresholds(steps: Steps) -> ThresholdsConfig:
    """Write steps as Grafana does: the first has no lower end."""
    found = [Threshold(color=colour, value=value) for colour, value in steps]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


def unknown() -> SpecialValueMap:
    """Show a dash where there is no figure: nothing happened, or nobody tells."""
    return SpecialValueMap(
        DashboardSpecialValueMapOptions(
            match=SpecialValueMatch.NULL_AND_NAN, result=ValueMappingResult(text="-", color=PLAIN)
        )
    )
