"""The demo's clock: stages follow each other without a gap, whatever was told first."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import pytest

from signalstack.core.ids import new_id
from signalstack.core.job import Wake
from signalstack.core.stage import Claimed, Flushed, HandedOver, Settled, Started, Woken
from signalstack.demo.stopwatch import STAGES, Stopwatch

if TYPE_CHECKING:
    from signalstack.core.stage import Fact

JOB: Final = new_id()
STORED: Final = Flushed(writes=1, jobs=1, duration_s=0.0)
WOKEN: Final = Woken(cause=Wake.NOTIFY)
CLAIMED: Final = Claimed(count=1, limit=10, duration_s=0.0)
HANDED: Final = HandedOver(outcome="taken")
NOTHING: Final = Claimed(count=0, limit=10, duration_s=0.0)
STARTED: Final = Started(
    job=JOB, queue="q", type="t", attempt=1, wake=Wake.NOTIFY, due_at=0.0, at=0.0
)
SETTLED: Final = Settled(jobs=(JOB,), stale=0, duration_s=0.0)


@pytest.mark.parametrize(
    "told",
    [
        (STORED, WOKEN, CLAIMED, STARTED, SETTLED),
        (WOKEN, STORED, CLAIMED, STARTED, SETTLED),
        (WOKEN, CLAIMED, STARTED, STORED, SETTLED),
        (STORED, WOKEN, CLAIMED, STARTED, WOKEN, NOTHING, SETTLED),
        (WOKEN, HANDED, STORED, STARTED, SETTLED),
    ],
)
def test_the_stages_make_up_the_whole(told: tuple[Fact, ...]) -> None:
    stopwatch = Stopwatch(version="0")
    sent_at = perf_counter()
    for fact in told[:-1]:
        stopwatch.tell(fact)
    received_at = perf_counter()
    stopwatch.tell(told[-1])

    journey = stopwatch.measure(
        JOB, sent_at=sent_at, answered_at=received_at, received_at=received_at
    )

    assert list(journey.stages) == list(STAGES)
    assert all(lasted >= 0 for lasted in journey.stages.values())
    assert sum(journey.stages.values()) == pytest.approx(journey.settled)
    assert sum(journey.stages.values()) - journey.stages["settle"] == pytest.approx(
        journey.received
    )


def test_what_was_not_told_is_named() -> None:
    with pytest.raises(LookupError, match="nothing was told of Flushed"):
        Stopwatch(version="0").measure(JOB, sent_at=0, answered_at=0, received_at=0)


async def test_waits_for_the_outcome_of_its_own_job() -> None:
    stopwatch = Stopwatch(version="0")
    stopwatch.tell(SETTLED)

    await stopwatch.until_settled(JOB)
