"""From which id on a worker looks for work: from the first, or only at what is new.

Who looks steps over the index entries of all jobs that have ended since the oldest transaction
began, and looks at their rows, since no vacuum may remove them. Where they are many, jobs older
than the last look that left none are not looked for, as new ids are later ids, until somebody says
that an old one waits again, or for too long nobody looked. Where they are so many that a look at
everything does not come to its end in time, looks are at new ids alone whatever is said, and now
and then it is tried again: else nothing would be claimed at all.

Who takes many jobs steps over all that it took before. So a claim that follows one of many begins
where that one ended: for a moment, since it sees neither what was slow to commit nor, where there
are more than there is room for, older jobs of lower priority.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.ids import id_floor
from signalstack.core.log import get_logger
from signalstack.store.claims import NIL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from signalstack.store.claims import Lease

# By so much the clocks of those who make ids may differ, and so long a commit may take. Polls are
# rare, and allow for what no healthy intake takes.
_SKEW_S: Final = 2.0
_POLL_SKEW_S: Final = 15.0
# To step over so many takes a millisecond or more.
_MANY: Final = 5_000
# To count them takes a twentieth of a millisecond.
_COUNT_EVERY_S: Final = 5.0
# Where fewer jobs were leased, there is little to step over.
_FOLLOW: Final = 20
_FOLLOW_S: Final = 0.25
_FOLLOW_SKEW_S: Final = 0.1
# The share of its time that a worker looks at everything, and how long it goes without.
_SHARE: Final = 0.005
_LONGEST_S: Final = 30.0
# The share that it may come to where looks are longer than that allows for, or are cut off.
_MOST: Final = 0.1
_log: Final = get_logger("signalstack.worker")


class Walks:
    """Where one worker's looks begin; `now` is the Unix time by the database's clock."""

    def __init__(
        self, now: Callable[[], float], *, clock: Callable[[], float] = anyio.current_time
    ) -> None:
        self._now = now
        self._clock = clock
        self._cleared_at: float | None = None
        self._whole_from = 0.0
        self._count_from = 0.0
        self._reached: bytes | None = None  # where the last claim ended, if another may follow it
        self._follow_until = 0.0
        self._passed_by = False  # whether those that followed may have left older ones
        self._unsure = False  # whether the last look at everything may have left old ones
        self._cut = False  # whether the last look at everything did not come to its end
        self.long = False  # whether the last look at everything that was counted was
        self._asked = 1
        self._answered = 0

    @property
    def due(self) -> bool:
        """Whether everything may be looked at: always, but for a while after a long look."""
        return self._clock() >= self._whole_from

    @property
    def cut(self) -> bool:
        """Whether only new ones may be looked at, since a look at everything takes too long."""
        return self._cut and not self.due

    def need_whole(self) -> None:
        """Have everything looked at, since an old id may wait again."""
        self._asked += 1

    def begin(self, *, whole: bool = False, poll: bool = False) -> Walk:
        """Begin a look, at everything if it must be; several may be under way."""
        began_at, began = self._now(), self._clock()
        follows = None if whole or poll else self._behind_the_last(began_at)
        since = follows or (NIL if whole else self._since(_POLL_SKEW_S if poll else _SKEW_S))
        counted = since == NIL and (self.long or began >= self._count_from)
        return Walk(
            since, self._asked, began_at, began, counted=counted, follows=follows is not None
        )

    def end(
        self,
        walk: Walk,
        leases: Sequence[Lease],
        *,
        dead: int | None,
        left_none: bool,
        no_limits: bool,
        reached: bytes | None = None,
    ) -> float | None:
        """Hear what a claim leased, what it stepped over, and what it left.

        It left none that could be had, or it met `no_limits` and left only what there was no room
        for: then, where `reached` is given, jobs that come behind it in their lanes. Returns in how
        many seconds to look again, where an old one may be left.
        """
        if left_none:
            reached = self._floor(walk.began_at, _FOLLOW_SKEW_S)
        self._reached = None if len(leases) < _FOLLOW else reached
        self._passed_by = not left_none or (walk.follows and self._passed_by)
        if walk.follows:
            if not left_none:
                return None
            # One that leased nothing does not know of lanes that it left alone.
            at_once = self._passed_by or not leases
            return 0.0 if at_once else max(self._follow_until - self._clock(), 0.0)
        self._follow_until = self._clock() + _FOLLOW_S
        if walk.since != NIL:
            if left_none and self._unsure and not self._cut:
                self.need_whole()
                return 0.0
            if left_none and self._cleared_at is not None:
                self._cleared_at = walk.began_at
            return None
        self._answered, self._cut = walk.asked, False
        self._count(walk, dead)
        if left_none:
            self._cleared_at, self._unsure = walk.began_at, False
        elif no_limits and self.long and self._are_new(leases):
            # Else a worker that is sent more than it can take at once would never look at new ones
            # alone. Old ones may be left all the same, of lower priority or another lane.
            self._unsure = True
        else:
            self._cleared_at = None
        return None

    def end_poll(self, walk: Walk, *, dead: int, found_none: bool) -> None:
        """Hear of a look at everything that leased nothing, at whether there is anything."""
        if found_none:
            self._count(walk, dead)
            self._cut = False
            self._answered, self._cleared_at, self._unsure = walk.asked, walk.began_at, False

    def end_cut(self, walk: Walk) -> None:
        """Hear that a look was ended before it came to its end."""
        took_s = self._clock() - walk.began
        _log.warning("look_cut_off", took_s=round(took_s, 1), whole=walk.since == NIL)
        self._reached = None
        self.need_whole()
        if not self.long:
            self.long = True  # until one comes to its end: PostgreSQL may just have stood still
            return
        if walk.since != NIL or self._cleared_at is None:
            # What it did not come to waits for a look at everything.
            self._cleared_at = walk.began_at
        self._cut = True
        self._whole_from = self._clock() + took_s / _MOST

    def _behind_the_last(self, began_at: float) -> bytes | None:
        """Tell where the last claim ended, if one may follow it."""
        if (
            self._reached is None
            or self._answered < self._asked
            or self._clock() >= self._follow_until
        ):
            return None
        return min(self._reached, self._floor(began_at, _FOLLOW_SKEW_S))

    def _since(self, skew_s: float) -> bytes:
        if self._cleared_at is None or self.due:
            return NIL
        if self._answered < self._asked and not self._cut:
            return NIL
        return self._floor(self._cleared_at, skew_s)

    def _are_new(self, leases: Sequence[Lease]) -> bool:
        if self._cleared_at is None:
            return False
        floor = self._floor(self._cleared_at, _SKEW_S)
        return bool(leases) and all(lease.id >= floor for lease in leases)

    def _count(self, walk: Walk, dead: int | None) -> None:
        if dead is None:
            return
        ended = self._clock()
        if self.long != (dead > _MANY):
            self.long = not self.long
            if self.long:
                _log.warning("dead_rows_passed_over", dead=dead)
            else:
                _log.info("dead_rows_gone", dead=dead)
        self._count_from = ended + _COUNT_EVERY_S
        took_s = ended - walk.began
        share_s = max(min(took_s / _SHARE, _LONGEST_S), took_s / _MOST)
        self._whole_from = ended + share_s if self.long else 0.0

    @staticmethod
    def _floor(cleared_at: float, skew_s: float) -> bytes:
        return id_floor(datetime.fromtimestamp(cleared_at - skew_s, UTC)).bytes


class Walk:
    """One look for work: from which id on, what had been asked for, and when, by both clocks.

    `counted` asks how many jobs that are gone it steps over, `follows` says that it begins where
    a claim ended.
    """

    __slots__ = ("asked", "began", "began_at", "counted", "follows", "since")

    def __init__(
        self,
        since: bytes,
        asked: int,
        began_at: float,
        began: float,
        *,
        counted: bool,
        follows: bool,
    ) -> None:
        self.since = since
        self.asked = asked
        self.began_at = began_at
        self.began = began
        self.counted = counted
        self.follows = follows
