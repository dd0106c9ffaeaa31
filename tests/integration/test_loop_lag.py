"""The event loop's lag: what holds the loop up shows, with how long."""

from __future__ import annotations

from threading import Event

import anyio

from recording import RecordingObserver
from signalstack.core.stage import LoopLagged
from signalstack.telemetry.loop_lag import watch_loop


async def test_what_blocks_the_loop_shows_as_lag() -> None:
    facts = RecordingObserver()
    before = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_loop, facts, 0.01)
        await facts.seen(LoopLagged, count=2)
        before = len(facts.told)
        Event().wait(0.3)  # as a handler does that computes in an async function
        await facts.seen(LoopLagged, count=before + 1)
        tasks.cancel_scope.cancel()

    lags = [fact.lag_s for fact in facts.facts(LoopLagged)]
    assert lags[before] > 0.25
    assert min(lags) >= 0.0
