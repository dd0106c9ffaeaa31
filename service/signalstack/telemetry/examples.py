"""Exemplars: which trace stands beside which bucket, in a process that records traces."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from signalstack.core import stage
from signalstack.telemetry.traces import recorded_ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from signalstack.telemetry.catalogue import Catalogue
    from signalstack.telemetry.cells import Histogram

    Taker = Callable[[Any], None]


class Examples:
    """Takes the facts that are told inside a span; of one that is not recorded it keeps nothing."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._all = catalogue

    def takers(self) -> dict[type[stage.Fact], Taker]:
        """Return what else to call for each type of fact."""
        return {
            stage.Started: self._started,
            stage.Finished: self._finished,
            stage.Requested: self._requested,
            stage.Delivered: self._delivered,
        }

    def _started(self, fact: stage.Started) -> None:
        latency_s = max(fact.at - fact.due_at, 0.0)
        _keep(self._all.dispatch, latency_s, fact.queue, fact.wake)

    def _finished(self, fact: stage.Finished) -> None:
        _keep(self._all.runs, fact.duration_s, fact.queue, fact.type, fact.outcome)

    def _requested(self, fact: stage.Requested) -> None:
        _keep(self._all.requests, fact.duration_s, fact.method, fact.route, fact.status)

    def _delivered(self, fact: stage.Delivered) -> None:
        if fact.duration_s is not None:
            _keep(self._all.delivery_times, fact.duration_s, fact.outcome)


def _keep(histogram: Histogram, value: float, *key: object) -> None:
    ids = recorded_ids()
    if ids is not None:
        histogram.exemplify(value, {"trace_id": ids[0], "span_id": ids[1]}, time(), *key)
