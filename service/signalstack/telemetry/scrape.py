"""What a page of `/metrics` says, as plain numbers for who shows them to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from signalstack.telemetry.meanings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

Labels = frozenset[tuple[str, str]]
Numbers = dict[str, dict[Labels, float]]


def read(page: str) -> Numbers:
    """Read the values of a page by name, without our prefix, and by labels.

    Raises:
        ValueError: this is no page of metrics in Prometheus' text format.
    """
    numbers: Numbers = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            series = numbers.setdefault(sample.name.removeprefix(PREFIX), {})
            series[_key(sample.labels)] = sample.value
    return numbers


def _key(labels: Mapping[str, str]) -> Labels:
    return frozenset(labels.items())
