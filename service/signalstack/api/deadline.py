"""How long the steps of requests may take: one timer of the event loop for all that are under way.

A timer for each step of each request costs more than all else that is done for a small one, and
few ever reach theirs. A request has one cancel scope for all its steps, for the same reason.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Self

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Deadlines:
    """Cancels what takes longer than it may; for one event loop."""

    def __init__(self) -> None:
        self._requests: set[Steps] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf

    def steps(self) -> Steps:
        """Begin a request in the task that calls this; its steps are within the context."""
        return Steps(self)

    def watch(self, request: Steps, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel a request at its `ends_at`, which may have changed."""
        self._requests.add(request)
        if request.ends_at < self._due:  # else the timer fires earlier, and is set anew then
            self._set_timer(request.ends_at, loop)

    def forget(self, request: Steps) -> None:
        """Leave a request alone that is over."""
        self._requests.discard(request)

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
        for request in [request for request in self._requests if request.ends_at <= now]:
            self._requests.discard(request)
            request.cancel()
        if self._requests:
            self._set_timer(min(request.ends_at for request in self._requests), loop)


class Steps:
    """The steps of one request, one after another: a context in which each has its own time."""

    __slots__ = ("_deadlines", "_excess", "_scope", "ends_at")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._scope = anyio.CancelScope()
        self._excess: Callable[[], Exception] = TimeoutError  # `allow` says which, and comes first
        self.ends_at = inf

    def allow(self, seconds: float, excess: Callable[[], Exception]) -> None:
        """Give the next step so many seconds; beyond them all ends with what `excess` makes."""
        loop = asyncio.get_running_loop()
        self.ends_at = loop.time() + seconds
        self._excess = excess
        self._deadlines.watch(self, loop)

    def cancel(self) -> None:
        """Cancel the step that is under way."""
        self._scope.cancel()

    def __enter__(self) -> Self:
        """Begin."""
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; raises what stands for the time that was exceeded."""
        self._deadlines.forget(self)
        if self._scope.__exit__(kind, error, trace):
            raise self._excess() from None
