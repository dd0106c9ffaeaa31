"""Invites while the worker is at rest, and takes the jobs that are handed to it.

One invitation is open at a time: it is one lease token. The worker opens it when it has a slot to
spare and nothing to claim; who stores a job takes it, and the bell that brings the job says so.
What a lost bell would have said is found by a poll, which looks whether the invitation is open.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.errors import UnavailableError
from signalstack.core.job import Wake
from signalstack.core.log import get_logger
from signalstack.core.stage import HandedOver, Woken
from signalstack.store.invitations import read_bell
from signalstack.store.link import StatementError

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from uuid import UUID

    from signalstack.core.stage import Observer
    from signalstack.store.claims import Lease
    from signalstack.store.invitations import Invitation

# A bell that was rung is heard sooner than this.
_SILENCE_S: Final = 1.0
_log: Final = get_logger("signalstack.worker")


class Host:
    """Invites while there are slots to `spare`; `put` takes what is handed over.

    `lost` is given the token of an invitation that may have been taken unheard: a run with it
    must be given back. `rng` makes tokens, by which a bell is believed: they must not be
    foreseeable.
    """

    def __init__(
        self,
        invitation: Invitation,
        observer: Observer,
        *,
        worker_id: Callable[[], UUID],
        spare: Callable[[], int],
        at_rest: Callable[[], bool],
        put: Callable[[Lease], None],
        lost: Callable[[int], None],
        rng: Random,
    ) -> None:
        self._invitation = invitation
        self._observer = observer
        self._worker_id = worker_id
        self._spare = spare
        self._at_rest = at_rest
        self._put = put
        self._lost = lost
        self._rng = rng
        self._token: int | None = None
        self._missed_at: float | None = None
        self._lock_key: int | None = None
        self._signal = anyio.Event()
        self._leaving = False

    def heard(self, text: str) -> None:
        """Take the job that a bell brings; one without our token may be anybody's."""
        lease = read_bell(text)
        if lease is None or lease.token != self._token:
            return
        self._token = self._missed_at = None
        self._observer.tell(Woken(cause=Wake.NOTIFY))
        self._observer.tell(HandedOver(outcome="taken"))
        self._put(lease)
        # Behind the first step of its handler: one that blocks the loop is not sent more.
        self.refresh()

    def refresh(self) -> None:
        """Look again, after what is due just now, whether to invite."""
        self._signal.set()

    def room_changed(self) -> None:
        """Say that there may be room where there was none: an open invitation needs no more."""
        if self._token is None:
            self.refresh()

    def reconnected(self) -> None:
        """Say that the connection is a new one: what was rung for the last one was not heard."""
        self._lock_key = None
        self.refresh()

    def looked(self, token: int | None) -> None:
        """Hear which token the open invitation had just now: another than ours was taken."""
        if self._token is None or token == self._token:
            self._missed_at = None
        elif self._missed_at is None:
            self._missed_at = anyio.current_time()
        self.refresh()

    def disinherited(self) -> None:
        """Say that the worker was given up for dead, and has another name from now on."""
        self._give_up(unheard=False)

    async def run(self) -> None:
        """Invite, or not, until cancelled."""
        while True:
            self._signal = anyio.Event()
            try:
                await self._adjust()
                await self._search()
            except UnavailableError:
                self._missed_at = None  # `reconnected` comes first
            except StatementError as error:
                self._missed_at = None  # the next poll sees it again
                _log.warning("cannot_invite", error=str(error), sqlstate=error.sqlstate)
            with anyio.move_on_after(self._wait_s()):
                await self._signal.wait()

    async def leave(self) -> bool:
        """Invite no more; False when PostgreSQL was not there to be told."""
        self._leaving = True
        try:
            await self._withdraw()
        except (UnavailableError, StatementError):
            return False
        return True

    async def _adjust(self) -> None:
        if self._leaving or not self._invitation.audible:
            return
        if self._lock_key is None:
            await self._begin()
        elif self._spare() <= 0:
            if self._token is not None:
                await self._close()
        elif self._token is None and self._at_rest():
            await self._open(self._lock_key)

    async def _begin(self) -> None:
        """Start with a new connection: the invitation of the last one is gone, or was taken."""
        if self._token is not None:
            await self._withdraw()
        key = self._rng.getrandbits(63)
        await self._invitation.hold_lock(key)
        self._lock_key = key
        self.refresh()

    async def _open(self, lock_key: int) -> None:
        # Known before it is open: the bell may come with the answer.
        token = self._token = self._rng.getrandbits(63)
        try:
            await self._invitation.open(self._worker_id(), token=token, lock_key=lock_key)
        except StatementError:
            self._token = None
            raise

    async def _close(self) -> None:
        closed = await self._invitation.close(self._worker_id())
        if closed is not None and closed == self._token:
            self._token = None

    async def _withdraw(self) -> None:
        open_ = await self._invitation.withdraw(self._worker_id())
        if open_ is not None and open_ == self._token:
            self._token = None
        self._give_up(unheard=True)

    def _wait_s(self) -> float:
        if self._missed_at is None:
            return inf
        return max(self._missed_at + _SILENCE_S - anyio.current_time(), 0.0)

    async def _search(self) -> None:
        """Make sure that a job was handed to us of which we did not hear."""
        token = self._token
        if self._missed_at is None or anyio.current_time() < self._missed_at + _SILENCE_S:
            return
        there = await self._invitation.look(self._worker_id())
        self._missed_at = None
        if self._token == token and there != token:
            self._give_up(unheard=True)
            self.refresh()

    def _give_up(self, *, unheard: bool) -> None:
        token, self._token, self._missed_at = self._token, None, None
        if token is None:
            return
        if unheard:
            self._observer.tell(HandedOver(outcome="lost"))
        self._lost(token)
