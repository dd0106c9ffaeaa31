"""How long requests may take: one timer of the event loop for all that are under way.

A timer for each limit of each request costs more than all else that is done for a small one, and
few requests ever reach theirs.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Deadlines:
    """Cancels what takes longer than it may; for one event loop."""

    def __init__(self) -> None:
        self._limits: set[Limit] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf

    def limit(self) -> Limit:
        """Make a limit, for one `with` block."""
        return Limit(self._limits, self._heed)

    def _heed(self, ends_at: float, loop: asyncio.AbstractEventLoop) -> None:
        if ends_at >= self._due:
            return  # the timer fires earlier, and is set anew then
        if self._timer is not None:
            self._timer.cancel()
        self._due = ends_at
        self._timer = loop.call_at(ends_at, self._look, loop, ends_at)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        # A loop that is late has woken some who have what they waited for: they come first.
        loop.call_soon(self._expire, loop, due)

    def _expire(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = max(loop.time(), due)  # a timer may be early by its clock's resolution
        self._timer, self._due = None, inf
        for limit in [limit for limit in self._limits if limit.ends_at <= now]:
            limit.expire()
        earliest = min((limit.ends_at for limit in self._limits), default=inf)
        if earliest < inf:
            self._heed(earliest, loop)


class Limit:
    """A block that is cancelled when its current step takes too long.

    As with anyio's `move_on_after` what follows the block tells: `raise limit.excess()`.
    """

    __slots__ = ("_heed", "_limits", "_scope", "ends_at", "excess")

    def __init__(
        self, limits: set[Limit], heed: Callable[[float, asyncio.AbstractEventLoop], None]
    ) -> None:
        self._limits = limits
        self._heed = heed
        self._scope = anyio.CancelScope()
        self.ends_at = inf
        self.excess: Callable[[], Exception] = TimeoutError

    def start_step(self, seconds: float, excess: Callable[[], Exception]) -> None:
        """Give the block so many seconds from now; `excess` makes the error of taking longer."""
        if self._scope.cancel_called:
            return  # the step before took too long, and is to be told
        loop = asyncio.get_running_loop()
        self.excess = excess
        self.ends_at = loop.time() + seconds
        self._heed(self.ends_at, loop)

    def expire(self) -> None:
        """Cancel the block."""
        self.ends_at = inf
        self._scope.cancel()

    def __enter__(self) -> None:
        self._limits.add(self)
        self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._limits.discard(self)
        return self._scope.__exit__(kind, error, traceback)
