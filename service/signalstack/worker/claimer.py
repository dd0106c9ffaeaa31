"""When to claim, and what: doorbells, timers and a slow poll in; leased jobs out to the executor.

Three things wake it. A notification names a queue. A timer stands for the earliest delayed job. The
poll finds whatever the first two missed, and is all there is while nobody listens. A claim that
did not empty its lanes is followed by another as soon as there is room.
"""

from __future__ import annotations

from collections import Counter
from math import ceil, inf
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from signalstack.core.errors import UnavailableError
from signalstack.core.job import DEFAULT_QUEUE, Wake
from signalstack.core.log import get_logger
from signalstack.core.queue import NAME
from signalstack.core.stage import Claimed, Woken
from signalstack.store.claims import NIL
from signalstack.store.dispatch import PROMOTE_LIMIT
from signalstack.store.link import StatementError
from signalstack.store.listener import AGAIN, LATER
from signalstack.worker.walks import Walks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random
    from uuid import UUID

    from signalstack.core.stage import Observer
    from signalstack.store.claims import Claim, Lease
    from signalstack.store.dispatch import Dispatch
    from signalstack.worker.walks import Walk

_LANES: Final = 16
# How many jobs of a lane may be leased ahead in its turn: visiting one costs as much as two jobs.
_TURN: Final = 4
# A claim that we gave up may go on over there until its statement_timeout.
_DOUBT_S: Final = 12.0
# To look for what such a claim leased is to read all live jobs, and claims wait behind it: for at
# most a tenth of the time.
_DOUBT_REST: Final = 10
_KNOWN_QUEUES_LIMIT: Final = 1_000
# Where there were limits, or many lanes, there will be again: a plain claim would be in vain.
_PLAIN_AFTER_S: Final = 10.0
# A statement that took longer than its statement_timeout.
_CUT_OFF: Final = "57014"
# Whatever rang while there was no room: what is claimed then had waited for a slot.
_HELD_UP: Final = (Wake.NOTIFY, Wake.TIMER)
_log: Final = get_logger("signalstack.worker")


class Taker(Protocol):
    """Who takes what a claim leased."""

    def __call__(self, leases: list[Lease], *, more: bool) -> None:
        """Take leases; `more` says whether the claim left some for the next one."""
        ...


class Claimer:
    """Claims for one worker of so many `slots`.

    `room` says how many jobs it can take, those that are leased ahead among them; `put` takes them.

    `on_polled` is told the token of the worker's open invitation, which each poll looks for;
    `hears` tells whether notifications arrive.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        observer: Observer,
        *,
        queues: Sequence[str],
        worker_id: Callable[[], UUID],
        room: Callable[[], int],
        slots: int,
        put: Taker,
        on_claimed: Callable[[], None],
        on_polled: Callable[[int | None], None],
        hears: Callable[[], bool],
        poll_interval_s: float,
        rng: Random,
    ) -> None:
        self._dispatch = dispatch
        self._observer = observer
        self._serves_all = not queues
        self._queues = dict.fromkeys(queues or (DEFAULT_QUEUE,))
        self._worker_id = worker_id
        self._room = room
        self._slots = slots
        self._put = put
        self._on_claimed = on_claimed
        self._on_polled = on_polled
        self._hears = hears
        self._poll_interval_s = poll_interval_s
        self._rng = rng
        self._cause: Wake | None = None
        self._cursor = NIL
        self._visited = 0  # lanes, since the first claim of this round
        self._round = 0  # lanes of the last round
        self._plain_from = 0.0
        self._fruitful = True
        self._walks = Walks(dispatch.now)
        self._with_payloads = True
        self._doubtful: dict[int, float] = {}
        self._disown_from = 0.0
        self._claimed_by = 0.0  # when a claim that was given up has come to its end over there
        self._signal = anyio.Event()
        self._timer_signal = anyio.Event()
        self._timer_at = 0.0
        self._claim_at = inf
        self._claiming = False
        self._stopping = False

    def heard(self, channel: str, payload: str) -> None:
        """Take a notification as a hint: it names a queue that has, or will have, work."""
        if not self.serves(payload):
            return
        if channel == LATER:
            self.expect(0.0)
            return
        if channel == AGAIN:
            self._walks.need_whole()
        self._wake(Wake.NOTIFY)

    def serves(self, queue: str) -> bool:
        """Tell whether a queue that a notification names is claimed from here; it is known then."""
        if queue in self._queues:
            return True
        # A notification may come from anybody: only what could be a queue's name is believed.
        if (
            not self._serves_all
            or len(self._queues) >= _KNOWN_QUEUES_LIMIT
            or not NAME.fullmatch(queue)
        ):
            return False
        self._queues[queue] = None
        self._walks.need_whole()
        return True

    def look(self) -> None:
        """Look for work now: notifications may have been missed, the connection may be another."""
        self._walks.need_whole()
        self._wake(Wake.POLL)
        self.expect(0.0)

    def expect(self, delay_s: float) -> None:
        """Look for due jobs after this many seconds, unless that is planned sooner already."""
        at = anyio.current_time() + delay_s
        if at < self._timer_at:
            self._timer_at = at
            self._timer_signal.set()

    def room_changed(self) -> None:
        """Say that there may be room where there was none."""
        if self._cause is not None:
            self._signal.set()

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to claim, as far as is known."""
        return self._cause is None and not self._claiming

    @property
    def slow(self) -> bool:
        """Whether a walk goes over so many dead rows that nobody else should have to."""
        return self._walks.long

    def doubt(self, token: int) -> None:
        """Give back what was leased with this token, now or by a statement still under way."""
        self._doubtful[token] = anyio.current_time() + _DOUBT_S
        self.expect(0.0)

    async def give_back(self) -> bool:
        """Give back at once what is in doubt; False where something may be leased all the same.

        PostgreSQL was not there to be told, or a claim that was given up may still be under way.
        """
        try:
            if self._doubtful:
                await self._disown()
        except (UnavailableError, StatementError):
            return False
        return anyio.current_time() >= self._claimed_by

    def stop(self) -> None:
        """Claim no more; `claim_forever` ends after the claim in flight."""
        self._stopping = True
        self._signal.set()

    async def claim_forever(self) -> None:
        """Claim whenever there is a cause and room, until stopped."""
        while not self._stopping:
            limit = self._room()
            if limit <= 0 and self._cause in _HELD_UP:
                self._cause = Wake.BACKLOG
            if self._cause is None or limit <= 0:
                self._signal = anyio.Event()
                await self._signal.wait()
                continue
            self._claiming = True
            # Jobs leased by a claim that nobody waits for any more would be lost until rescued.
            with anyio.CancelScope(shield=True):
                await self._claim(limit)
            self._claiming = False
            self._on_claimed()

    async def look_forever(self) -> None:
        """Promote delayed jobs when they are due, and poll, until cancelled."""
        polled_at = -self._poll_interval_s
        while True:
            poll = anyio.current_time() - polled_at >= self._poll_interval_s
            if poll:
                polled_at = anyio.current_time()
            # What is expected from here on may be too new for the answer that is under way.
            self._timer_at = inf
            next_s = await self._promote(poll=poll)
            until_poll = polled_at + self._poll_interval_s - anyio.current_time()
            until_claim = self._claim_at - anyio.current_time()
            self.expect(min(next_s, max(until_poll, 0.0), max(until_claim, 0.0)))
            await self._until_timer()

    async def _until_timer(self) -> None:
        while (left := self._timer_at - anyio.current_time()) > 0:
            with anyio.move_on_after(left):
                await self._timer_signal.wait()
                self._timer_signal = anyio.Event()

    async def _claim(self, limit: int) -> None:
        cause, self._cause = self._cause or Wake.BACKLOG, None
        self._observer.tell(Woken(cause=cause))
        began = perf_counter()
        cut = self._walks.cut
        cursor, token = NIL if cut else self._cursor, self._rng.getrandbits(63)
        plain = cut or (cursor == NIL and anyio.current_time() >= self._plain_from)
        walk = self._walks.begin(whole=not plain, poll=cause is Wake.POLL)
        try:
            claim = await self._dispatch.claim(
                list(self._queues),
                worker_id=self._worker_id(),
                token=token,
                limit=limit,
                lanes=self._lanes(limit),
                cursor=cursor,
                cause=cause,
                plain=plain,
                since=walk.since,
                follows=walk.follows,
                counted=walk.counted,
                with_payloads=self._with_payloads,
            )
        except UnavailableError:
            # It may have been done all the same. The listener looks again as soon as it is back.
            self.doubt(token)
            self._claimed_by = self._doubtful[token]
            return
        except StatementError as error:
            self._walks.need_whole()
            if error.sqlstate == _CUT_OFF:
                self._walks.end_cut(walk)
                self._wake(cause)
                return
            _log.warning("claim_failed", error=str(error), sqlstate=error.sqlstate)
            if self._with_payloads:
                # One payload that PostgreSQL cannot make text of fails the claim of all others.
                self._with_payloads = False
                self._wake(cause)
            return
        self._with_payloads = True
        duration_s = perf_counter() - began
        self._observer.tell(
            Claimed(
                count=len(claim.leases),
                limit=limit,
                duration_s=duration_s,
                wakes=Counter([lease.wake for lease in claim.leases]),
            )
        )
        more = not claim.drained or len(claim.leases) >= limit
        no_limits = plain and claim.plain
        again_s = self._walks.end(
            walk,
            claim.leases,
            dead=claim.dead,
            left_none=no_limits and not more,
            no_limits=no_limits,
            reached=claim.reached if no_limits else None,
        )
        if again_s == 0.0:
            self._wake(Wake.BACKLOG)
        elif again_s is not None:
            self._claim_in(again_s)
        if not claim.plain:
            self._plain_from = anyio.current_time() + _PLAIN_AFTER_S
            if plain and not cut:
                self._wake(cause)  # for what was left alone
        if claim.plain or not plain:
            self._count_lanes(claim)
        # Lanes that are left alone now would be all that is found, again and again.
        self._go_on(claim, cursor, more=more and (bool(claim.leases) or not cut))
        self._put(claim.leases, more=more)

    def _lanes(self, limit: int) -> int:
        """Tell how many lanes to visit: one for each slot, fewer for what is leased ahead.

        The claims of a round visit as many each, as far as the last round tells: those whose lanes
        come last would share among few what others share among many.
        """
        # Fewer lanes than queues would pass queues over whose first lane was not reached.
        least = len(self._queues)
        most = max(min(limit, self._slots), limit // _TURN, _LANES, least)
        left = self._round - self._visited
        if left <= most:
            return max(most, left + 1)  # as many as asked for would look as if there were more
        return max(ceil(left / ceil(left / most)), least)

    def _count_lanes(self, claim: Claim) -> None:
        self._visited += claim.lanes
        if claim.cursor == NIL:
            self._round, self._visited = self._visited, 0

    def _go_on(self, claim: Claim, cursor: bytes, *, more: bool) -> None:
        self._cursor = claim.cursor
        if claim.wait_s is not None:
            self._claim_in(claim.wait_s)
        self._fruitful = self._fruitful or bool(claim.leases)
        if cursor != NIL and claim.cursor == NIL:
            # Round: lanes before the start are due again, unless a whole round found nothing but
            # jobs that run already.
            more, self._fruitful = self._fruitful, False
        if self._cause is None and more:
            self._cause = Wake.BACKLOG

    def _claim_in(self, delay_s: float) -> None:
        self._claim_at = min(self._claim_at, anyio.current_time() + delay_s)
        self.expect(delay_s)

    def _claim_if_due(self, *, promoted: int = 0) -> None:
        if promoted or anyio.current_time() >= self._claim_at:
            self._claim_at = inf
            self._wake(Wake.TIMER)

    async def _promote(self, *, poll: bool) -> float:
        """Promote what is due; returns the seconds until more will be."""
        walk = self._walks.begin(whole=True)
        busy = poll and self._serves_all and (self._walks.due or not self._hears())
        busy = busy and not self._walks.cut
        try:
            if self._doubtful:
                await self._disown_if_due()
            promotion = await self._dispatch.promote(
                busy=busy, host=self._worker_id() if poll else None
            )
            if busy:
                self._walks.end_poll(walk, dead=promotion.dead, found_none=not promotion.busy)
            if promotion.count:
                self._walks.need_whole()
            self._claim_if_due(promoted=promotion.count)
            elsewhere = [queue for queue in promotion.queues if not self.serves(queue)]
            if self._stopping or promotion.count > self._room() or elsewhere:
                await self._dispatch.ring(promotion.queues)
        except UnavailableError:
            # The listener looks again as soon as it is back. A time that came meanwhile would have
            # this asked again at once, and a link that is down refuses without a turn of the event
            # loop: it would never be back.
            self._claim_at = inf
            return self._poll_interval_s
        except StatementError as error:
            return self._not_promoted(error, walk if busy else None)
        if poll:
            self._on_polled(promotion.invited)
            self._take_polled(promotion.busy if busy else None)
        if promotion.count >= PROMOTE_LIMIT:
            return 0.0
        return self._poll_interval_s if promotion.next_s is None else promotion.next_s

    def _not_promoted(self, error: StatementError, walk: Walk | None) -> float:
        """Tell in how many seconds to try again; at once where a look was all that was too long."""
        if walk is not None and error.sqlstate == _CUT_OFF:
            self._walks.end_cut(walk)
            self._wake(Wake.POLL)
            return 0.0
        _log.warning("promotion_failed", error=str(error), sqlstate=error.sqlstate)
        self._claim_if_due()
        return self._poll_interval_s

    def _take_polled(self, busy: list[str] | None) -> None:
        """Look into the queues that have jobs, unless all queues were looked at and none has."""
        if busy is None or busy:
            # Nobody says what waits again, or a queue was not among those that were looked at.
            if not self._hears() or not self._queues.keys() >= set(busy or ()):
                self._walks.need_whole()
            self._wake(Wake.POLL)
        else:
            self._on_claimed()
        if busy is not None:
            # Only these are known to be queues: names that were just heard make room for them.
            known = () if len(self._queues) >= _KNOWN_QUEUES_LIMIT else self._queues
            self._queues = dict.fromkeys((DEFAULT_QUEUE, *known, *busy))

    async def _disown_if_due(self) -> None:
        """Give back what is in doubt; where that is refused, promotion goes on without it."""
        began = anyio.current_time()
        if began < self._disown_from:
            self.expect(self._disown_from - began)
            return
        try:
            await self._disown()
        except StatementError as error:
            _log.warning("claims_not_disowned", error=str(error), sqlstate=error.sqlstate)
        ended = anyio.current_time()
        self._disown_from = ended + _DOUBT_REST * (ended - began)
        if self._doubtful:
            at = max(self._disown_from, min(self._doubtful.values()))
            self.expect(at - ended)

    async def _disown(self) -> None:
        """Give back what was leased by claims whose answer did not arrive."""
        now = anyio.current_time()
        back = await self._dispatch.disown(list(self._doubtful))
        for closed in back.closed:
            self._observer.tell(closed)
        if back.count:
            _log.warning("claims_disowned", jobs=back.count)
            self._walks.need_whole()
            self._wake(Wake.POLL)
        # What came into doubt meanwhile is asked for later: its time is not over.
        self._doubtful = {token: at for token, at in self._doubtful.items() if at > now}

    def _wake(self, cause: Wake) -> None:
        if self._cause is None or cause is Wake.NOTIFY:
            self._cause = cause
        self._fruitful = True
        self._signal.set()
