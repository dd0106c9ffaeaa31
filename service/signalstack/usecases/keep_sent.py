"""Keeping messages at hand once they were sent: after their outcome is committed, never before."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from uuid import UUID

import anyio

from signalstack.core.errors import SignalStackError
from signalstack.core.job import Outcome
from signalstack.core.message import JOB_TYPE
from signalstack.usecases import messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signalstack.store.cache import MessageCache
    from signalstack.store.outcomes import Ended
    from signalstack.store.pool import Pool

# What is beyond is left to the first one who reads it.
WAITING: Final = 1_000


class SentKeeper:
    """Puts sent messages into Redis in a loop of its own, so that no outcome waits for it."""

    def __init__(self, pool: Pool, cache: MessageCache) -> None:
        self._pool = pool
        self._cache = cache
        self._waiting: deque[tuple[UUID, UUID]] = deque(maxlen=WAITING)
        self._signal = anyio.Event()

    def note(self, recorded: Iterable[Ended]) -> None:
        """Take note of runs whose outcome is committed."""
        for end in recorded:
            if end.lease.type == JOB_TYPE and end.outcome is Outcome.SUCCEEDED:
                self._waiting.append((UUID(bytes=end.lease.user_id), end.lease.job_id))
                self._signal.set()

    async def run(self) -> None:
        """Keep what was noted until cancelled."""
        while True:
            await self._signal.wait()
            self._signal = anyio.Event()
            while self._waiting:
                await self._keep(*self._waiting.popleft())

    async def _keep(self, user_id: UUID, message_id: UUID) -> None:
        if self._cache.resting:
            return  # nobody would take it
        # The row is what a reader would see: the run may have been recorded as another one's.
        with suppress(SignalStackError):
            await self._cache.put(user_id, await messages.get(self._pool, user_id, message_id))
