"""How long the steps of requests may take: one timer of the event loop for all that are under way.

A timer for each step of each request costs more than all else that is done for a small one, and
few ever reach theirs.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = TypeVar("Result")


class Deadlines:
    """Cancels what takes longer than it may; for one event loop."""

    def __init__(self) -> None:
        self._steps: set[_Step] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf

    async def within(
        self, seconds: float, work: Awaitable[Result], excess: Callable[[], Exception]
    ) -> Result:
        """Await `work` for so many seconds, then cancel it and raise what `excess` makes."""
        loop = asyncio.get_running_loop()
        step = _Step(loop.time() + seconds)
        if step.ends_at < self._due:  # else the timer fires earlier, and is set anew then
            self._set_timer(step.ends_at, loop)
        self._steps.add(step)
        try:
            with step.scope:
                return await work
        finally:
            self._steps.discard(step)
        raise excess()

    def _set_timer(self, due: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        # A loop that is late has woken some who have what they waited for: they come first.
        loop.call_soon(self._expire, loop, due)

    def _expire(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = max(loop.time(), due)  # a timer may be early by its clock's resolution
        self._timer, self._due = None, inf
        for step in [step for step in self._steps if step.ends_at <= now]:
            self._steps.discard(step)
            step.scope.cancel()
        if self._steps:
            self._set_timer(min(step.ends_at for step in self._steps), loop)


class _Step:
    __slots__ = ("ends_at", "scope")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.scope = anyio.CancelScope()
