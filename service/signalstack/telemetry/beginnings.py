"""Series that are there before they move: a rate needs a first sample.

A series that appears at 1 hides its first event, and one that appears at 5,000 a failed deploy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core import message
from signalstack.core.job import DEFAULT_QUEUE, Outcome, Wake
from signalstack.core.message import ErrorCode

if TYPE_CHECKING:
    from signalstack.core import stage
    from signalstack.telemetry.catalogue import Catalogue
    from signalstack.telemetry.cells import Cell

# How many pairs of queue and job type of a worker begin with it.
PAIRS: Final = 200
FAILURES: Final = (500, 503)
# What wakes a claimer: a retry that is due does so by the timer, and a rescue by a notification.
WAKEUPS: Final = (Wake.NOTIFY, Wake.BACKLOG, Wake.TIMER, Wake.POLL)

_NO_SUCH_METHOD: Final = 405


class Beginnings:
    """Opens series at zero: some at once, others with the first thing that is heard of theirs."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._all = catalogue
        self._begin_wakes()
        self._begin_at_zero()

    def serving(self, fact: stage.Serving) -> None:
        """Begin what a worker may have to tell of its jobs."""
        self._all.types.know(*fact.types)
        pairs = [
            (queue, kind)
            for queue in fact.queues or (DEFAULT_QUEUE, message.QUEUE)
            for kind in fact.types
            if message.queue_fault(kind, queue) is None
        ]
        for queue, kind in pairs[:PAIRS]:
            self._begin(queue, kind)

    def open_start(self, key: tuple[str, Wake], kind: str) -> Cell:
        """Return the cell of starts; with a new one begins how such jobs end."""
        family = self._all.dispatch
        known, cell = len(family.cells), family.open(key)
        if len(family.cells) > known:
            self._begin(key[0], kind)
        return cell

    def open_run(self, key: tuple[str, str, Outcome]) -> Cell:
        """Return the cell of runs; with a new one begins how else they may end."""
        family = self._all.runs
        known, cell = len(family.cells), family.open(key)
        if len(family.cells) > known:
            self._begin(key[0], key[1])
        return cell

    def open_request(self, key: tuple[str, str, int]) -> Cell:
        """Return the cell of answers; with a new one begin the failures of its route."""
        method, route, status = key
        # By methods that it does not have anybody could make many.
        if status != _NO_SUCH_METHOD:
            for failure in FAILURES:
                self._all.requests.cell(method, route, failure)
        return self._all.requests.open(key)

    def _begin(self, queue: str, kind: str) -> None:
        for outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
            self._all.finished.add(0, queue, kind, outcome)
        self._all.retries.add(0, queue, kind)

    def _begin_wakes(self) -> None:
        for wake in Wake:
            self._all.claimed.add(0, wake)
        for cause in WAKEUPS:
            self._all.wakeups.add(0, cause)

    def _begin_at_zero(self) -> None:
        for result in ("hit", "empty"):
            self._all.claims.add(0, result)
        for outcome in ("taken", "lost"):
            self._all.handovers.add(0, outcome)
        for outcome in ("accepted", "duplicate", "rejected"):
            self._all.events.add(0, outcome)
        for outcome in ("delivered", "rejected", "failed", "blocked", "gone", "timeout"):
            self._all.deliveries.add(0, outcome)
        for outcome in ("sent", *ErrorCode):
            self._all.messages.add(0, outcome)
        for outcome in ("enqueued", "skipped", "duplicate", "rejected"):
            self._all.ticks.add(0, outcome)
        for outcome in ("hit", "miss", "error"):
            self._all.cache.add(0, outcome)
        all_ = self._all
        for counter in (all_.rescued, all_.stale, all_.reconnects, all_.put_off):
            counter.add(0)
