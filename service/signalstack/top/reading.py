"""What one process said of itself at one time, and what has changed since the time before."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from signalstack.telemetry.scrape import Labels, Numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BORN = "process_start_time_seconds"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One scrape of one process; `at_s` is of the clock that only goes forward."""

    at_s: float
    numbers: Numbers

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one series; None when there is none."""
        return self.numbers.get(name, {}).get(frozenset(labels.items()))

    def labelled(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Yield the labels and the value of each series of this name."""
        for labels, value in self.numbers.get(name, {}).items():
            yield dict(labels), value


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Two readings of one process, the later after the earlier; or of its successor."""

    before: Reading
    after: Reading

    @property
    def elapsed_s(self) -> float:
        """The time between the two."""
        return self.after.at_s - self.before.at_s

    def growth(self, name: str, *by: str) -> dict[tuple[str, ...], float]:
        """Sum how far the counters of this name went up, grouped by these labels.

        A counter that begins again counts from zero, and one that is new began at zero.
        """
        before = self.before.numbers.get(name, {})
        after = self.after.numbers.get(name, {})
        if self._began_again(before, after):
            before = {}
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for labels, value in after.items():
            named = dict(labels)
            sums[tuple(named.get(label, "") for label in by)] += value - before.get(labels, 0.0)
        return sums

    def _began_again(self, before: Mapping[Labels, float], after: Mapping[Labels, float]) -> bool:
        # Judged for all series of a name together: in a histogram that began again, one bucket may
        # have passed its old count by now while another has not.
        if self.before.value(_BORN) != self.after.value(_BORN):
            return True
        return any(after.get(labels, 0.0) < value for labels, value in before.items())
