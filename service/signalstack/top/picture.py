"""What one frame shows: the figures of all targets, put together from their readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.top.lines import (
    ProcessLine,
    QueueLine,
    Spread,
    measure_process,
    measure_queues,
    spread,
)
from signalstack.top.reading import Change, Reading
from signalstack.top.sums import add, sum_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_OUTCOMES: Final = ("succeeded", "failed", "cancelled")


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at one target brought; `away` says why it brought no reading."""

    target: str
    change: Change | None = None
    reading: Reading | None = None
    away: str | None = None


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a second, over the last interval."""

    events: float
    enqueued: float
    outcomes: dict[str, float]
    retries: float
    rescued: float
    stale: float
    webhooks: dict[str, float]
    requests: float
    errors: float  # requests that were answered with 5xx


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """All that a frame shows; rates and latencies are None before the second look."""

    processes: list[ProcessLine]
    queues: list[QueueLine]
    gauges_age_s: float | None  # of the depths, which the leader alone keeps
    workers: dict[str, int]  # alive and stale, as the leader counts them
    notify_queue_usage: float | None
    rates: Rates | None
    latencies: dict[str, Spread]
    wakes: dict[str, float]  # the share of the starts that each cause brought about


def draw(glances: Sequence[Glance], *, now_s: float) -> Picture:
    """Put together what the targets said; `now_s` is Unix time, for the age of the depths."""
    changes = [glance.change for glance in glances if glance.change]
    leader = _gauge_keeper([glance.reading for glance in glances if glance.reading])
    read_at_s = leader.value("queue_gauges_timestamp_seconds") if leader else None
    return Picture(
        processes=[
            ProcessLine(target=glance.target, away=glance.away)
            if glance.reading is None
            else measure_process(glance.target, glance.reading, glance.change)
            for glance in glances
        ],
        queues=measure_queues(leader, changes),
        gauges_age_s=None if read_at_s is None else max(0.0, now_s - read_at_s),
        workers={
            labels["state"]: int(count)
            for labels, count in (leader.labelled("workers") if leader else ())
        },
        notify_queue_usage=leader.value("notify_queue_usage_ratio") if leader else None,
        rates=_rates(changes) if changes else None,
        latencies=_latencies(changes),
        wakes=_wakes(changes),
    )


def _gauge_keeper(readings: Sequence[Reading]) -> Reading | None:
    """Find who read the gauges of the database last; one that led before may still show its own."""
    keepers = [reading for reading in readings if "queue_depth" in reading.numbers]
    return max(
        keepers,
        key=lambda reading: reading.value("queue_gauges_timestamp_seconds") or 0.0,
        default=None,
    )


def _rates(changes: Sequence[Change]) -> Rates:
    finished = add(changes, "jobs_finished_total", "outcome")
    requests = add(changes, "http_request_duration_seconds_count", "status")
    return Rates(
        events=sum_of(changes, "events_received_total"),
        enqueued=sum_of(changes, "jobs_enqueued_total"),
        outcomes={name: finished.get((name,), 0.0) for name in _OUTCOMES},
        retries=sum_of(changes, "job_retries_total"),
        rescued=sum_of(changes, "jobs_rescued_total"),
        stale=sum_of(changes, "stale_settlements_total"),
        webhooks={
            outcome: rate
            for (outcome,), rate in add(changes, "webhook_deliveries_total", "outcome").items()
        },
        requests=sum(requests.values()),
        errors=sum(rate for (status,), rate in requests.items() if status.startswith("5")),
    )


def _latencies(changes: Sequence[Change]) -> dict[str, Spread]:
    families = {
        "dispatch": "dispatch_latency_seconds",
        "run": "job_duration_seconds",
        "settle": "settle_duration_seconds",
        "claim": "claim_duration_seconds",
        "flush": "flush_duration_seconds",
        "HTTP": "http_request_duration_seconds",
    }
    return {title: spread(changes, name) for title, name in families.items()}


def _wakes(changes: Sequence[Change]) -> dict[str, float]:
    starts = add(changes, "dispatch_latency_seconds_count", "wake")
    total = sum(starts.values())
    shares = [(cause, rate / total) for (cause,), rate in starts.items() if rate]
    return dict(sorted(shares, key=lambda share: -share[1]))
