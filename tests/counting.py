"""What the counters of a process say of the facts that a test kept."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from signalstack.telemetry.meanings import PREFIX
from signalstack.telemetry.observer import Telemetry

if TYPE_CHECKING:
    from recording import RecordingObserver


def ended(*observers: RecordingObserver) -> dict[str, int]:
    """Count ended jobs by outcome, and retries, as the scrapes of all these would in sum."""
    counts = Counter[str]()
    for observer in observers:
        telemetry = Telemetry(version="1.2.3")
        for fact in list(observer.told):
            telemetry.tell(fact)
        for family in telemetry.registry.collect():
            for sample in family.samples:
                if sample.name == f"{PREFIX}jobs_finished_total":
                    counts[sample.labels["outcome"]] += int(sample.value)
                elif sample.name == f"{PREFIX}job_retries_total":
                    counts["retried"] += int(sample.value)
    return {outcome: count for outcome, count in counts.items() if count}
