"""The lines of a frame: a process, a queue, how long something took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from signalstack.top.quantile import Quantile, quantile
from signalstack.top.sums import add, buckets, sum_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.top.reading import Change, Reading

MEDIAN: Final = 0.5
TAIL: Final = 0.99


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How often something happened (1/s) and how long it took; no quantiles when it did not."""

    rate: float
    p50: Quantile | None
    p99: Quantile | None


class ProcessLine(msgspec.Struct, frozen=True, kw_only=True):
    """One target; None is what it does not say."""

    target: str
    away: str | None = None
    role: str = ""
    version: str = ""
    busy: int | None = None
    free: int | None = None
    listener: Literal["listening", "polling", "off"] | None = None
    leads: bool | None = None
    database: bool | None = None
    callers_waiting: int = 0
    cpu: float | None = None
    memory: float | None = None


class QueueLine(msgspec.Struct, frozen=True, kw_only=True):
    """One queue of all tenants; None is what nobody says or has happened yet."""

    name: str
    depth: Mapping[str, int]
    oldest_s: float | None
    workers: int | None
    paused: bool
    enqueued: float | None
    finished: float | None
    dispatch: Spread | None


def spread(changes: Sequence[Change], name: str) -> Spread:
    """Sum up one histogram over all targets and labels."""
    return _spread(sum_of(changes, f"{name}_count"), buckets(changes, name).get((), {}))


def measure_process(target: str, reading: Reading, change: Change | None) -> ProcessLine:
    """Sum up what one process says of itself."""
    build = {
        name: text for labels, _ in reading.labelled("build_info") for name, text in labels.items()
    }
    leads = reading.value("maintenance_leader")
    reached = reading.value("database_up")
    waiting = reading.value("db_pool_connections", state="waiting")
    return ProcessLine(
        target=target,
        role=build.get("role", ""),
        version=build.get("version", ""),
        busy=_whole(reading.value("worker_slots", state="busy")),
        free=_whole(reading.value("worker_slots", state="free")),
        listener=_listener(reading),
        leads=None if leads is None else leads > 0,
        database=None if reached is None else reached > 0,
        callers_waiting=int(waiting or 0),
        cpu=None if change is None else sum_of([change], "process_cpu_seconds_total"),
        memory=reading.value("process_resident_memory_bytes"),
    )


def measure_queues(leader: Reading | None, changes: Sequence[Change]) -> list[QueueLine]:
    """Sum up each queue, those with most waiting first: depths by the leader, rates by all."""
    enqueued = add(changes, "jobs_enqueued_total", "queue")
    finished = add(changes, "jobs_finished_total", "queue")
    started = add(changes, "dispatch_latency_seconds_count", "queue")
    dispatched = buckets(changes, "dispatch_latency_seconds", "queue")
    depths = _depths(leader)
    lines = [
        QueueLine(
            name=name,
            depth=depths.get(name, {}),
            oldest_s=_of(leader, "queue_oldest_seconds", name),
            workers=_whole(_of(leader, "queue_workers", name)),
            paused=bool(_of(leader, "queue_paused", name)),
            enqueued=enqueued.get((name,), 0.0) if changes else None,
            finished=finished.get((name,), 0.0) if changes else None,
            dispatch=_spread(started.get((name,), 0.0), dispatched.get((name,), {}))
            if changes
            else None,
        )
        for name in sorted({*depths, *(name for (name,) in (*enqueued, *finished, *started))})
    ]
    return sorted(lines, key=lambda line: (-line.depth.get("pending", 0), -_busy(line), line.name))


def _spread(rate: float, counts: Mapping[float, float]) -> Spread:
    return Spread(rate=rate, p50=quantile(MEDIAN, counts), p99=quantile(TAIL, counts))


def _depths(leader: Reading | None) -> dict[str, dict[str, int]]:
    depths: dict[str, dict[str, int]] = {}
    for labels, count in leader.labelled("queue_depth") if leader else ():
        depths.setdefault(labels["queue"], {})[labels["status"]] = int(count)
    return depths


def _of(leader: Reading | None, name: str, queue: str) -> float | None:
    return leader.value(name, queue=queue) if leader else None


def _busy(line: QueueLine) -> float:
    return (line.enqueued or 0.0) + (line.finished or 0.0)


def _listener(reading: Reading) -> Literal["listening", "polling", "off"] | None:
    modes = {labels.get("mode") for labels, current in reading.labelled("listener_mode") if current}
    if "polling" in modes:
        return "polling"
    if "off" in modes:
        return "off"
    up = reading.value("listener_up")
    if up is None:
        return None
    return "listening" if up else "polling"


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
