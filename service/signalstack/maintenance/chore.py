"""A chore: what is done again and again, how often, and what is told of each time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import msgspec

from signalstack.core.errors import UnavailableError
from signalstack.core.log import get_logger
from signalstack.core.stage import ChoreEnded

if TYPE_CHECKING:
    from signalstack.core.stage import Observer

# An hour without new partitions, say, is too long for a moment's contention. What goes on failing
# is tried ever more seldom: each time it may hold locks until it is given up. Never so seldom,
# though, that half an hour goes by without a failure: the alert of it looks back that far.
RETRY_S: Final = 5.0
SELDOM_S: Final = 600.0

Result = TypeVar("Result")

_log: Final = get_logger("signalstack.maintenance")


class Chore(msgspec.Struct, frozen=True, kw_only=True):
    """What is done every `interval_s` seconds; it must do no harm when two do it at once.

    `run` does a bounded piece and tells whether there is more to do right away.
    """

    name: str
    interval_s: float
    run: Callable[[], Awaitable[bool]]


async def repeat(chore: Chore, observer: Observer) -> None:
    """Do a chore, at once and then at its interval, until cancelled."""
    failures = 0
    while True:
        more = await attempt(chore.name, chore.run, observer)
        failures = failures + 1 if more is None else 0
        if not more:
            await anyio.sleep(pause_s(chore.interval_s, failures=failures))


def pause_s(interval_s: float, *, failures: int) -> float:
    """Tell how long to rest after so many failures in a row, none when it was done."""
    if failures == 0:
        return interval_s
    return min(interval_s, SELDOM_S, RETRY_S * 2.0 ** min(failures - 1, 16))


async def attempt(
    name: str, work: Callable[[], Awaitable[Result]], observer: Observer
) -> Result | None:
    """Do a piece of work once; None when it failed, which leaves it for the next time."""
    began = perf_counter()
    try:
        done = await work()
    except UnavailableError as error:
        _log.warning("chore_put_off", chore=name, error=str(error))
    except Exception as error:  # noqa: BLE001 - a fault in one chore must end neither others nor jobs
        _log.error("chore_failed", chore=name, error=f"{type(error).__name__}: {error}")
    else:
        observer.tell(ChoreEnded(chore=name, outcome="done", duration_s=perf_counter() - began))
        return done
    observer.tell(ChoreEnded(chore=name, outcome="failed", duration_s=perf_counter() - began))
    return None
