"""Takes back the jobs of dead workers, in the moment in which their lease ends."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.log import get_logger
from signalstack.core.stage import Rescued
from signalstack.maintenance.chore import RETRY_S, attempt
from signalstack.store import chores

if TYPE_CHECKING:
    from signalstack.core.stage import Observer
    from signalstack.store.pool import Pool

# A claim that raced with a rescue has ended by then: statements have a shorter deadline.
ORPHANS_AFTER_RESCUE_S: Final = 15.0
ORPHANS_S: Final = 600.0
BATCH: Final = 2_000  # runs taken back by one statement: a tenth of a second

_log: Final = get_logger("signalstack.maintenance")


class Rescuer:
    """Knows when the next lease would end, so that nothing is polled."""

    def __init__(self, pool: Pool, observer: Observer) -> None:
        self._pool = pool
        self._observer = observer
        self._due_at = inf
        self._told = anyio.Event()
        self._buried = anyio.Event()
        self._half_done = False

    def expect(self, delay_s: float | None) -> None:
        """Rescue after this many seconds unless told otherwise before; None: no worker is known."""
        self._due_at = inf if delay_s is None else anyio.current_time() + delay_s
        self._told.set()

    async def run(self) -> None:
        """Rescue whenever a lease has ended, until cancelled."""
        while True:
            self._told = anyio.Event()
            with anyio.move_on_after(max(self._due_at - anyio.current_time(), 0.0)):
                await self._told.wait()
                continue
            # Who was not dead after all, or could not be rescued yet, is expected anew.
            self._due_at = inf
            await attempt("rescue", lambda: self._rescue(orphans=False), self._observer)
            while self._half_done:
                await anyio.sleep(RETRY_S)
                await attempt("rescue", lambda: self._rescue(orphans=True), self._observer)

    async def look_for_orphans(self) -> None:
        """Take back what a worker claimed in the moment in which it was given up for dead."""
        while True:
            done = await attempt("orphans", lambda: self._rescue(orphans=True), self._observer)
            if done is None:
                await anyio.sleep(RETRY_S)
                continue
            self._buried = anyio.Event()
            with anyio.move_on_after(ORPHANS_S):
                await self._buried.wait()
                await anyio.sleep(ORPHANS_AFTER_RESCUE_S)

    async def _rescue(self, *, orphans: bool) -> bool:
        """Take all back that there is, in pieces, so that no row is locked for long."""
        more = True
        while more:
            async with self._pool.connection() as conn:
                done = await chores.rescue(conn, orphans=orphans, limit=BATCH)
            self._tell(done)
            if done.workers:
                self._buried.set()
            # The dead are buried with the first piece: what is left of theirs are orphans.
            orphans = more = self._half_done = done.more
        return True

    def _tell(self, done: chores.Rescue) -> None:
        if not (done.workers or done.rescued or done.failed):
            return
        self._observer.tell(Rescued(count=done.rescued + done.failed))
        for closed in done.closed:
            self._observer.tell(closed)
        _log.warning("workers_lost", workers=done.workers, rescued=done.rescued, failed=done.failed)
