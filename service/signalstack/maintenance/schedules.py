"""The leader's loop of schedules: it wakes when the next tick comes, and looks for changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from signalstack.maintenance.chore import attempt

if TYPE_CHECKING:
    from signalstack.core.stage import Observer
    from signalstack.usecases.tick import Ticker

# A schedule that somebody has just made or changed is seen within this, by one look at an index.
LOOK_S: Final = 1.0


class Schedules:
    """Takes ticks as they come; whoever else does the same, each one is taken once."""

    def __init__(self, ticker: Ticker, observer: Observer) -> None:
        self._ticker = ticker
        self._observer = observer

    async def run(self) -> None:
        """Take ticks until cancelled; what fails is tried again."""
        while True:
            wait_s = await attempt("ticks", self._take, self._observer)
            await anyio.sleep(LOOK_S if wait_s is None else wait_s)

    async def _take(self) -> float:
        """Take what is due; return how many seconds to sleep, for the database's clock."""
        wait_s = await self._ticker.take_due()
        return LOOK_S if wait_s is None else min(max(wait_s, 0.0), LOOK_S)
