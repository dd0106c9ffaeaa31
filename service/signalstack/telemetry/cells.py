"""Counters, gauges and histograms as plain lists: cheap to bump when hot, rendered at scrape.

There are no locks. `cell[i] += n` on built-in types is one step under the interpreter's lock, and a
scrape in another thread copies a cell before it reads it; a sum may then lag its count by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from itertools import accumulate
from operator import add
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.samples import Exemplar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

OTHER: Final = "other"
MAX_SERIES: Final = 1_000

Cell = list[float]
Key = tuple[object, ...]


class Vocabulary:
    """The values that a label may take: those known, then the first few new ones; else `other`."""

    def __init__(self, *known: str, room: int = 0) -> None:
        self._known = set(known)
        self._all_room = room
        self.forget()

    def forget(self) -> None:
        """Give the room back that new values took."""
        self._words = set(self._known)
        self._room = self._all_room

    def know(self, *words: str) -> None:
        """Have more values that need no room."""
        self._known.update(words)
        self._words.update(words)

    def fit(self, value: str) -> str:
        """Return the value, or `other` when there is no room for it."""
        if value in self._words:
            return value
        if self._room > 0:
            self._room -= 1
            self._words.add(value)
            return value
        return OTHER

    def fit_known(self, value: str) -> str:
        """Return the value, or `other` when it is none of the known ones."""
        return value if value in self._known else OTHER


class Family(ABC):
    """All series of one metric: a cell for each distinct set of label values.

    A label with a vocabulary takes its values from callers, so it is bounded; one with None is
    bounded by its type. Past `MAX_SERIES` sets of labels all values that callers brought become
    `other`; those known, which nobody can make more of, are told apart even then.
    """

    def __init__(
        self, name: str, text: str, labels: Mapping[str, Vocabulary | None] | None = None
    ) -> None:
        self.name = name
        self.text = text
        self.labels = tuple(labels or ())
        self.cells: dict[Key, Cell] = {}
        self._words = tuple((labels or {}).values())

    def cell(self, *key: object) -> Cell:
        """Return the cell of these label values; values without room share the cell of `other`."""
        return self.cells.get(key) or self.open(key)

    def open(self, key: Key) -> Cell:
        """Return the cell of label values that have none under their own names (the slow path)."""
        return self.cells.setdefault(self.fitted(key), self._blank())

    def fitted(self, key: Key) -> Key:
        """Return the label values under which these are counted."""
        return key if key in self.cells else self._fit(key, self.cells)

    def _fit(self, key: Key, cells: Mapping[Key, Cell]) -> Key:
        key = tuple(
            words.fit(str(value)) if words else value
            for words, value in zip(self._words, key, strict=True)
        )
        if key not in cells and len(cells) >= MAX_SERIES:
            key = tuple(
                words.fit_known(str(value)) if words else value
                for words, value in zip(self._words, key, strict=True)
            )
        return key

    @abstractmethod
    def render(self) -> Metric:
        """Return the family as prometheus_client writes it."""

    def series(self) -> Iterator[tuple[list[str], Cell]]:
        """Yield the label values and a copy of the cell of each series."""
        # list() is one step, so that a series that is born meanwhile does not disturb us.
        for key, cell in list(self.cells.items()):
            yield [str(value) for value in key], cell[:]

    def _blank(self) -> Cell:
        return [0]


class Counter(Family):
    """Only goes up."""

    def add(self, amount: float, *key: object) -> None:
        """Add to the series of these label values."""
        self.cell(*key)[0] += amount

    def render(self) -> Metric:
        """Return the family as prometheus_client writes it."""
        metric = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for values, cell in self.series():
            metric.add_metric(values, cell[0])
        return metric


class Gauge(Family):
    """Holds the last value; absent until there is one."""

    def set(self, value: float, *key: object) -> None:
        """Set the series of these label values."""
        self.cell(*key)[0] = value

    def replace(
        self, values: Iterable[tuple[Key, float]], join: Callable[[float, float], float] = add
    ) -> None:
        """Set these series and forget all others; those that share one cell are joined."""
        cells: dict[Key, Cell] = {}
        for key, value in values:
            fit = self._fit(key, cells)
            known = cells.get(fit)
            cells[fit] = [value if known is None else join(known[0], value)]
        # One step, so that a scrape sees either the old series or the new ones.
        self.cells = cells

    def render(self) -> Metric:
        """Return the family as prometheus_client writes it."""
        metric = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        for values, cell in self.series():
            metric.add_metric(values, cell[0])
        return metric


class Histogram(Family):
    """Counts values by bucket; a cell is the sum followed by the count of each bucket."""

    def __init__(
        self,
        name: str,
        text: str,
        bounds: Sequence[float],
        labels: Mapping[str, Vocabulary | None] | None = None,
    ) -> None:
        super().__init__(name, text, labels)
        self.bounds = bounds
        self._names = [*(str(bound) for bound in bounds), "+Inf"]
        self._examples: dict[Key, list[Exemplar | None]] = {}

    def observe(self, value: float, *key: object) -> None:
        """Count a value in the series of these label values."""
        cell = self.cell(*key)
        cell[bisect_left(self.bounds, value) + 1] += 1
        cell[0] += value

    def exemplify(self, value: float, example: Mapping[str, str], at: float, *key: object) -> None:
        """Keep an example of the bucket that the value is counted in; the last one is shown."""
        examples = self._examples.setdefault(self.fitted(key), [None] * len(self._names))
        examples[bisect_left(self.bounds, value)] = Exemplar(dict(example), value, at)

    def render(self) -> Metric:
        """Return the family as prometheus_client writes it."""
        metric = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        none = [None] * len(self._names)
        for key, cell in list(self.cells.items()):
            counts, examples = accumulate(cell[1:]), self._examples.get(key, none)
            buckets = [
                (name, count) if example is None else (name, count, example)
                for name, count, example in zip(self._names, counts, examples, strict=True)
            ]
            metric.add_metric([str(value) for value in key], buckets, cell[0])
        return metric

    def _blank(self) -> Cell:
        return [0] * (len(self.bounds) + 2)
