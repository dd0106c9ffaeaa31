"""The open seats of a worker at rest, and the jobs that are handed to it through them.

A seat is one token: the worker opens it when it has a slot to spare and nothing to claim, whoever
stores a job takes it, and the bell that brings the job closes it. What a lost bell would have said
is found by comparing what is open here with what is open in the database.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.errors import UnavailableError
from signalstack.core.job import Wake
from signalstack.core.log import get_logger
from signalstack.core.stage import HandedOver, Woken
from signalstack.store.invitations import read_bell
from signalstack.store.link import StatementError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random
    from uuid import UUID

    from signalstack.core.stage import Observer
    from signalstack.store.dispatch import Lease
    from signalstack.store.invitations import Seats

# Another job may arrive before the seat of the last one is open again. More seats would be looked
# through by everybody who stores a job.
SEATS: Final = 2
# A bell that was rung is heard sooner than this.
_SILENCE_S: Final = 1.0
_log: Final = get_logger("signalstack.worker")


class Invitations:
    """Keeps seats open while there are slots to spare; `put` takes what is handed over.

    `lost` is given the tokens of runs that we were handed and never heard of: they must be given
    back. `rng` makes tokens, by which a bell is believed: it must not be foreseeable.
    """

    def __init__(
        self,
        seats: Seats,
        observer: Observer,
        *,
        queues: Sequence[str],
        worker_id: Callable[[], UUID],
        spare: Callable[[], int],
        at_rest: Callable[[], bool],
        put: Callable[[Lease], None],
        lost: Callable[[Sequence[int]], None],
        check_interval_s: float,
        rng: Random,
    ) -> None:
        self._seats = seats
        self._observer = observer
        self._queues = queues
        self._worker_id = worker_id
        self._spare = spare
        self._at_rest = at_rest
        self._put = put
        self._lost = lost
        self._check_interval_s = check_interval_s
        self._rng = rng
        self._open: dict[int, int] = {}
        self._unheard: dict[int, float] = {}
        self._lock_key: int | None = None
        self._check_at = 0.0
        self._signal = anyio.Event()
        self._leaving = False

    def heard(self, text: str) -> None:
        """Take the job that a bell brings; one without an open seat's token may be anybody's."""
        lease = read_bell(text)
        if lease is None or self._open.pop(lease.token, None) is None:
            return
        self._observer.tell(Woken(cause=Wake.NOTIFY))
        self._observer.tell(HandedOver(outcome="taken", count=1))
        self._put(lease)
        # Behind the first step of its handler: one that blocks the loop is not offered more.
        self.refresh()

    def refresh(self) -> None:
        """Look again, after what is due just now, which seats should be open."""
        self._signal.set()

    def reconnected(self) -> None:
        """Say that the connection is a new one: what was rung for the last one was not heard."""
        self._lock_key = None
        self.refresh()

    def disinherit(self) -> None:
        """Forget all seats, since the worker was given up for dead and its jobs are rescued."""
        self._open.clear()

    async def run(self) -> None:
        """Open and close seats until cancelled."""
        while True:
            self._signal = anyio.Event()
            try:
                await self._adjust()
                wait_s = await self._check()
            except UnavailableError:
                wait_s = self._check_interval_s  # `reconnected` comes first
            except StatementError as error:
                _log.warning("seats_not_changed", error=str(error), sqlstate=error.sqlstate)
                wait_s = self._check_interval_s
            with anyio.move_on_after(wait_s):
                await self._signal.wait()

    async def leave(self) -> None:
        """Close all seats for good; those that were taken unheard are lost."""
        self._leaving = True
        with suppress(UnavailableError, StatementError):
            await self._close()
        self._give_up(list(self._open))

    async def _adjust(self) -> None:
        if self._leaving or not self._seats.audible:
            return
        if self._lock_key is None:
            await self._begin()
        spare = self._spare()
        if spare <= 0:
            if self._open:
                await self._close()
        elif len(self._open) < min(SEATS, spare) and self._at_rest():
            await self._open_up_to(min(SEATS, spare))

    async def _begin(self) -> None:
        """Start with a new connection: what was open on the last one is closed."""
        if self._open:
            await self._close()
            self._give_up(list(self._open))
        key = self._rng.getrandbits(63)
        await self._seats.hold_lock(key)
        self._lock_key = key

    async def _open_up_to(self, count: int) -> None:
        taken = set(self._open.values())
        numbers = [number for number in range(SEATS) if number not in taken]
        opened = {number: self._rng.getrandbits(63) for number in numbers[: count - len(taken)]}
        # Before it is known to be done: the first bell may come with the answer.
        self._open |= {token: number for number, token in opened.items()}
        await self._seats.open(
            opened,
            worker_id=self._worker_id(),
            queues=self._queues,
            lock_key=self._lock_key or 0,
        )

    async def _close(self) -> None:
        for token in await self._seats.close(self._worker_id()):
            self._open.pop(token, None)

    async def _check(self) -> float:
        """Find seats that were taken by whom we did not hear; returns when to look again."""
        now = anyio.current_time()
        if not self._open:
            return self._check_interval_s
        if now >= self._check_at:
            before = set(self._open)
            missing = before - await self._seats.list_open(self._worker_id())
            self._unheard = {
                token: self._unheard.get(token, now) for token in missing if token in self._open
            }
            self._give_up([t for t, at in self._unheard.items() if now - at >= _SILENCE_S])
            self._check_at = now + (_SILENCE_S if self._unheard else self._check_interval_s)
        return max(self._check_at - now, _SILENCE_S)

    def _give_up(self, tokens: Sequence[int]) -> None:
        if not tokens:
            return
        for token in tokens:
            self._open.pop(token, None)
            self._unheard.pop(token, None)
        self._observer.tell(HandedOver(outcome="lost", count=len(tokens)))
        self._lost(tokens)
