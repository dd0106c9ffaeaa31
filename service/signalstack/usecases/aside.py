"""Does beside the event loop what would hold it up, a little of it at a time.

Threads share the interpreter's lock with the loop, so more of them would only keep it from its
turns; and no tenant has more than one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakValueDictionary

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

Outcome = TypeVar("Outcome")

_THREADS: Final = 2
_limiters: Final[RunVar[anyio.CapacityLimiter]] = RunVar("signalstack_aside")
_turns: Final[WeakValueDictionary[UUID, anyio.Lock]] = WeakValueDictionary()


async def aside(user_id: UUID, work: Callable[[], Outcome]) -> Outcome:
    """Do a tenant's work in a thread when it is its turn; when cancelled, at the work's end."""
    async with turn_of(user_id):
        return await in_thread(work)


def turn_of(user_id: UUID) -> anyio.Lock:
    """Give what makes a tenant's works come one after the other, in the order of their coming."""
    return _turns.setdefault(user_id, anyio.Lock())


async def in_thread(work: Callable[[], Outcome]) -> Outcome:
    """Do work of a tenant whose turn it is; when cancelled, at the work's end."""
    return await to_thread.run_sync(work, limiter=_limiter())


def _limiter() -> anyio.CapacityLimiter:
    limiter = _limiters.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_THREADS)
        _limiters.set(limiter)
    return limiter
