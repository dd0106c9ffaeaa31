"""Probes: single steps at rest, each after a pause, and the moments at which they were."""

from __future__ import annotations

import random
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from signalstack.bench.handlers import STAMP
from signalstack.bench.rig import QUEUE
from signalstack.core.job import JobRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from signalstack.bench.stamps import Stamps

ARRIVAL_S: Final = 10.0
_GAP_S: Final = (0.005, 0.025)


class Moments(msgspec.Struct):
    """When each step of one probe was, in nanoseconds."""

    called: int
    returned: int
    arrived: int = 0


class Prober:
    """Takes one probe after another and keeps their moments by name."""

    def __init__(self) -> None:
        self._rng = random.Random(20_260_000)  # noqa: S311 - jitter is no secret
        self._taken: dict[str, list[Moments]] = {}

    async def take(
        self,
        name: str,
        action: Callable[[], Awaitable[object]],
        arrival: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        """Pause, act, and where something arrives by that, wait for the moment it did."""
        await anyio.sleep(self._rng.uniform(*_GAP_S))
        called = monotonic_ns()
        await action()
        moments = Moments(called, monotonic_ns())
        if arrival is not None:
            moments.arrived = await arrival()
        self._taken.setdefault(name, []).append(moments)

    def forget(self) -> None:
        """Drop what was taken so far: everything was cold."""
        self._taken.clear()

    def returns(self, name: str) -> list[int]:
        """Tell how long each action took, in nanoseconds."""
        return [m.returned - m.called for m in self._taken[name]]

    def arrivals(self, name: str) -> list[int]:
        """Tell how long after each call something arrived, in nanoseconds."""
        return [m.arrived - m.called for m in self._taken[name]]

    def arrivals_after_return(self, name: str) -> list[int]:
        """Tell how long after each return something arrived, in nanoseconds."""
        return [m.arrived - m.returned for m in self._taken[name]]


class Slots:
    """Hands out the slots of a file of stamps, one a probe."""

    def __init__(self, stamps: Stamps) -> None:
        self._stamps = stamps
        self._next = 0

    def take(self) -> tuple[int, Callable[[], Awaitable[int]]]:
        """Give a fresh slot, and what waits for its moment."""
        slot, self._next = self._next, self._next + 1

        async def arrival() -> int:
            return await self._stamps.wait(slot, within_s=ARRIVAL_S)

        return slot, arrival


def stamp_job(file: Path, slot: int) -> JobRequest:
    """Make the job that takes down when it starts."""
    return JobRequest(type=STAMP, queue=QUEUE, payload={"file": str(file), "slot": slot})
