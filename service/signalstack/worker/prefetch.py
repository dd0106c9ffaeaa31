"""How many jobs a worker leases ahead of its slots: as many as end in a moment.

A claim takes a millisecond or more, and slots of quick jobs would run dry meanwhile. Slow jobs that
are leased ahead are kept from other workers until they are handed back.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# As many as end within this time, or while two claims take place if those are slow.
AHEAD_S: Final = 0.01
AHEAD_LIMIT: Final = 1_000
# Of a shorter time, or of fewer jobs than there are slots, a rate is noise.
_LEAST_S: Final = 0.0005


class Prefetch:
    """Knows how quick jobs and claims were of late; `ended` counts the jobs, for who runs them.

    Jobs may be slower than those before them, so many are leased ahead only once slots ran dry: at
    most as many as there are slots at first, then twice as many each time.
    """

    __slots__ = (
        "_asked_at",
        "_claim_s",
        "_clock",
        "_idle_from",
        "_idle_s",
        "_limit",
        "_measured_at",
        "_rate",
        "_slots",
        "ended",
    )

    def __init__(self, slots: int, *, clock: Callable[[], float] = perf_counter) -> None:
        self._slots = slots
        self._clock = clock
        self.ended = 0
        self._measured_at = self._asked_at = clock()
        self._idle_from: float | None = None
        self._idle_s = 0.0
        self._rate = 0.0
        self._claim_s = 0.0
        self._limit = slots

    def ahead(self) -> int:
        """Tell how many jobs a claim that begins now should lease ahead."""
        now = self._asked_at = self._clock()
        if self._idle_from is not None:
            self._idle_s += now - self._idle_from
            self._idle_from = now
        # While there was nothing to do, nothing could end: that says nothing of how quick jobs are.
        busy_s = now - self._measured_at - self._idle_s
        if self.ended >= self._slots or busy_s > _LEAST_S:
            self._rate = (self._rate + self.ended / max(busy_s, 1e-6)) / 2
            self._measured_at, self.ended, self._idle_s = now, 0, 0.0
        return min(int(self._rate * max(AHEAD_S, 2 * self._claim_s)), self._limit)

    def claimed(self, count: int, *, more: bool, dry: bool) -> None:
        """Hear what the claim leased, whether it left more, and whether slots had run dry."""
        self._claim_s = (self._claim_s + self._clock() - self._asked_at) / 2
        limit = self._limit
        if not more:
            limit = max(limit // 2, 2 * count)
        elif dry:
            limit *= 2
        self._limit = min(max(limit, self._slots), AHEAD_LIMIT)

    def rest(self) -> None:
        """Hear that all slots are idle."""
        self._idle_from = self._clock()

    def resume(self) -> None:
        """Hear that there is work again."""
        if self._idle_from is not None:
            self._idle_s += self._clock() - self._idle_from
            self._idle_from = None

    def forget(self) -> None:
        """Hear that what was leased ahead had to be handed back."""
        self._rate = 0.0
