"""How late the event loop is: a timer that fires four times a second, and tells by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.stage import LoopLagged

if TYPE_CHECKING:
    from signalstack.core.stage import Observer

INTERVAL_S: Final = 0.25


async def watch_loop(observer: Observer, interval_s: float = INTERVAL_S) -> None:
    """Tell how late the timer fires, until cancelled."""
    while True:
        due_at = anyio.current_time() + interval_s
        await anyio.sleep_until(due_at)
        # A loop's own clock is read once a turn, so a timer may fire a hair too early.
        observer.tell(LoopLagged(lag_s=max(anyio.current_time() - due_at, 0.0)))
