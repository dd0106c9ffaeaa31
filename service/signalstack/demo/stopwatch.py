"""The clock on each stage: an observer that notes when it was told what, and what that comes to."""

from __future__ import annotations

from itertools import accumulate, pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import anyio
import msgspec

from signalstack.core.stage import Claimed, Flushed, HandedOver, Settled, Started, Woken
from signalstack.telemetry.observer import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from signalstack.core.stage import Fact

F = TypeVar("F", bound="Fact")

STAGES: Final = {
    "receive": "request sent, checked, matched by a subscription",
    "store": "event, job and NOTIFY committed in one transaction",
    "wake": "the notification reached the worker",
    "claim": "the job was leased; where a worker was at rest: when it was stored",
    "execute": "its handler began",
    "deliver": "endpoint looked up, body signed, webhook received",
    "settle": "answer read, outcome committed",
}


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """One event's way, in seconds: `stages` follow each other without a gap."""

    stages: dict[str, float]
    answered: float
    received: float
    settled: float


class Told(NamedTuple, Generic[F]):
    """A fact, and when it was told by `perf_counter`."""

    at: float
    fact: F


class Stopwatch(Telemetry):
    """The observer of production that keeps the time of every fact besides."""

    def __init__(self, *, version: str) -> None:
        super().__init__(version=version)
        self._told: list[Told[Fact]] = []
        self._changed = anyio.Event()

    def tell(self, fact: Fact) -> None:
        """Take note of a fact, and of the time."""
        self._told.append(Told(perf_counter(), fact))
        super().tell(fact)
        self._changed.set()

    async def until_settled(self, job: UUID) -> None:
        """Wait until the outcome of a job is committed."""
        while self._last(Settled, lambda fact: job in fact.jobs) is None:
            self._changed = anyio.Event()
            await self._changed.wait()

    def measure(
        self, job: UUID, *, sent_at: float, answered_at: float, received_at: float
    ) -> Journey:
        """Put together what was told of a job that came alone; times are by `perf_counter`."""
        stored = self._need(Flushed, lambda fact: fact.jobs > 0)
        started = self._need(Started, lambda fact: fact.job == job)
        leased_at = self._leased_at(before=started.at)
        woken = self._need(Woken, before=leased_at)
        settled = self._need(Settled, lambda fact: job in fact.jobs)
        times = [
            sent_at,
            stored.at - stored.fact.duration_s,
            # Two connections tell of the commit, the writer's and the listener's: the first counts.
            min(stored.at, woken.at),
            woken.at,
            leased_at,
            started.at,
            received_at,
            settled.at,
        ]
        lasted = [after - before for before, after in pairwise(accumulate(times, max))]
        return Journey(
            stages=dict(zip(STAGES, lasted, strict=True)),
            answered=answered_at - sent_at,
            received=received_at - sent_at,
            settled=settled.at - sent_at,
        )

    def _leased_at(self, *, before: float) -> float:
        """Tell when the worker learned of its lease: by a claim, or by the bell that brought it."""
        claimed = self._last(Claimed, lambda fact: fact.count > 0, before=before)
        handed = self._last(HandedOver, lambda fact: fact.outcome == "taken", before=before)
        moments = [told.at for told in (claimed, handed) if told is not None]
        if not moments:
            raise LookupError("nothing was told of a lease")
        return max(moments)

    def _need(
        self, kind: type[F], fits: Callable[[F], bool] | None = None, *, before: float | None = None
    ) -> Told[F]:
        found = self._last(kind, fits, before=before)
        if found is None:
            raise LookupError(f"nothing was told of {kind.__name__}")
        return found

    def _last(
        self, kind: type[F], fits: Callable[[F], bool] | None = None, *, before: float | None = None
    ) -> Told[F] | None:
        for at, fact in reversed(self._told):
            late = before is not None and at > before
            if not late and isinstance(fact, kind) and (fits is None or fits(fact)):
                return Told(at, fact)
        return None
