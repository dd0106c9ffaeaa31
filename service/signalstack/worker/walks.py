"""From which id on a worker looks for work: from the first, or only at what is new.

Who looks steps over the index entries of all jobs that have ended since the oldest transaction
began, since no vacuum may remove them: a microsecond and a half each, with a look at the row. Where
that takes long (beside the quickest look, which shows how far away PostgreSQL is), jobs older than
the last look that left none are not looked for, as new ids are later ids, until somebody says that
an old one waits again, or for too long nobody looked.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.ids import id_floor
from signalstack.store.dispatch import NIL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from signalstack.store.dispatch import Lease

# By so much the clocks of those who make ids may differ.
_SKEW_S: Final = 10.0
_LONG_S: Final = 0.005
_ROW_S: Final = 0.000_05  # what leasing one job takes beside the walk, at most
# The share of its time that a worker looks at everything, and how long it goes without.
_SHARE: Final = 0.005
_LONGEST_S: Final = 30.0


class Walks:
    """Where one worker's looks begin; `now` is the Unix time by the database's clock."""

    def __init__(
        self, now: Callable[[], float], *, clock: Callable[[], float] = anyio.current_time
    ) -> None:
        self._now = now
        self._clock = clock
        self._cleared_at: float | None = None
        self._whole_from = 0.0
        self._quickest_s = inf
        self._last_s = 0.0
        self.long = False  # whether the last two looks at everything were
        self._asked = 1
        self._answered = 0

    @property
    def since(self) -> bytes:
        """The first id that may wait, as far as is known; NIL where it may be any."""
        if (
            self._cleared_at is None
            or self._answered < self._asked
            or self._clock() >= self._whole_from
        ):
            return NIL
        return self._floor(self._cleared_at)

    def need_whole(self) -> None:
        """Have everything looked at, since an old id may wait again."""
        self._asked += 1

    def renew(self) -> None:
        """Do the same over a new connection, which may lead further than the last one."""
        self.need_whole()
        self._quickest_s, self._last_s = inf, 0.0

    def begin(self, *, whole: bool = False) -> Walk:
        """Begin a look, at everything if it must be; several may be under way."""
        return Walk(NIL if whole else self.since, self._asked, self._now(), self._clock())

    def end(self, walk: Walk, leases: Sequence[Lease], *, left_none: bool) -> None:
        """Hear what a claim leased, and whether it left none that could be had."""
        if walk.since == NIL:
            self._answered = walk.asked
            self._measure(walk, rows=len(leases))
            # Oldest first: one that leased new ones alone has left new ones alone. Else a worker
            # that is sent more than it can take at once would never look at new ones again.
            if not (left_none or (self.long and self._are_new(leases))):
                self._cleared_at = None
        if left_none and (walk.since == NIL or self._cleared_at is not None):
            self._cleared_at = walk.began_at

    def end_poll(self, walk: Walk, *, rows: int, found_none: bool) -> None:
        """Hear of a look at everything that leased nothing, at whether there is anything."""
        self._measure(walk, rows=rows)
        if found_none:
            self._answered, self._cleared_at = walk.asked, walk.began_at

    def _are_new(self, leases: Sequence[Lease]) -> bool:
        if self._cleared_at is None:
            return False
        floor = self._floor(self._cleared_at)
        return all(lease.id >= floor for lease in leases)

    def _measure(self, walk: Walk, *, rows: int) -> None:
        ended = self._clock()
        walk_s = max(ended - walk.began - rows * _ROW_S, 0.0)
        self._quickest_s = min(self._quickest_s, walk_s)
        # Of two, since the first one over a connection plans, and any one may have waited.
        self.long = min(walk_s, self._last_s) - self._quickest_s > _LONG_S
        self._last_s = walk_s
        self._whole_from = ended + min(walk_s / _SHARE, _LONGEST_S) if self.long else 0.0

    @staticmethod
    def _floor(cleared_at: float) -> bytes:
        return id_floor(datetime.fromtimestamp(cleared_at - _SKEW_S, UTC)).bytes


class Walk:
    """One look for work: from which id on, what had been asked for, and when, by both clocks."""

    __slots__ = ("asked", "began", "began_at", "since")

    def __init__(self, since: bytes, asked: int, began_at: float, began: float) -> None:
        self.since = since
        self.asked = asked
        self.began_at = began_at
        self.began = began
