"""Every metric family of the service, with its labels and buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from signalstack.core import message
from signalstack.core.job import DEFAULT_QUEUE
from signalstack.telemetry.cells import Counter, Family, Gauge, Histogram, Vocabulary
from signalstack.telemetry.meanings import MEANINGS, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAMES: Final = 200  # how many queues, types, routes and queries get series of their own
METHODS: Final = ("GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS")

# A good start takes about a millisecond, so that is where the buckets are close together.
DISPATCH_S: Final = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
WORK_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
DATABASE_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0),
)
LAG_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
BATCH: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


class Described(NamedTuple):
    """What documentation says of a metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def describe() -> list[Described]:
    """List all metrics by name."""
    return sorted(
        Described(family.name, type(family).__name__.lower(), family.labels, family.text)
        for family in Catalogue(("version", "python", "role")).families
    )


class Catalogue:
    """The families of one process; `families` has them in the order of their exposition."""

    def __init__(self, build_labels: Iterable[str], queues: Iterable[str] = ()) -> None:
        """Make all families; those without labels that callers choose begin at zero.

        Tenants name queues, and must not take the room of those that alerts and the operator name:
        ours and these `queues` need none.
        """
        self.families: list[Family] = []
        operators = (DEFAULT_QUEUE, message.QUEUE, *queues)
        queue, self.types = Vocabulary(*operators, room=NAMES), Vocabulary(room=NAMES)
        kind = self.types
        method, route = Vocabulary(*METHODS), Vocabulary(room=NAMES)
        query = Vocabulary(room=NAMES)

        self.requests = self._histogram(
            "http_request_duration_seconds", WORK_S, method=method, route=route, status=None
        )
        self.events = self._counter("events_received_total", outcome=None)
        self.enqueued = self._counter("jobs_enqueued_total", queue=queue, type=kind)
        self.flush_sizes = self._histogram("flush_batch_size", BATCH)
        self.flushes = self._histogram("flush_duration_seconds", DATABASE_S)
        self.wakeups = self._counter("wakeups_total", cause=None)
        self.claims = self._counter("claims_total", result=None)
        self.handovers = self._counter("handovers_total", outcome=None)
        self.claimed = self._counter("claimed_jobs_total", wake=None)
        self.claim_sizes = self._histogram("claim_batch_size", BATCH)
        self.claim_times = self._histogram("claim_duration_seconds", DATABASE_S)
        self.slots = self._gauge("worker_slots", state=None)
        self.dispatch = self._histogram(
            "dispatch_latency_seconds", DISPATCH_S, queue=queue, wake=None
        )
        self.runs = self._histogram(
            "job_duration_seconds", WORK_S, queue=queue, type=kind, outcome=None
        )
        self.finished = self._counter("jobs_finished_total", queue=queue, type=kind, outcome=None)
        self.retries = self._counter("job_retries_total", queue=queue, type=kind)
        self.settles = self._histogram("settle_duration_seconds", DATABASE_S)
        self.stale = self._counter("stale_settlements_total")
        self.rescued = self._counter("jobs_rescued_total")
        self.deliveries = self._counter("webhook_deliveries_total", outcome=None)
        self.delivery_times = self._histogram("webhook_duration_seconds", WORK_S, outcome=None)
        self.put_off = self._counter("webhook_postponed_total")
        self.messages = self._counter("messages_total", outcome=None)
        self.cache = self._counter("message_cache_requests_total", outcome=None)
        self.listening = self._gauge("listener_up")
        self.modes = self._gauge("listener_mode", mode=None)
        self.heard_at = self._gauge("listener_last_notification_timestamp_seconds")
        self.reconnects = self._counter("listener_reconnects_total")
        self.roundtrips = self._histogram("listener_roundtrip_seconds", DATABASE_S)
        self.reached = self._gauge("database_up")
        self.queries = self._histogram("db_query_duration_seconds", DATABASE_S, query=query)
        self.connections = self._gauge("db_pool_connections", state=None)
        self.lags = self._histogram("event_loop_lag_seconds", LAG_S)
        self.leading = self._gauge("maintenance_leader")
        self.chores = self._histogram("chore_duration_seconds", WORK_S, chore=None, outcome=None)
        self._open_house(operators)
        self.ticks = self._counter("schedule_ticks_total", outcome=None)
        self.tick_lags = self._histogram("schedule_lag_seconds", DISPATCH_S)
        self.build = self._gauge("build_info", **dict.fromkeys(build_labels))

    def _open_house(self, operators: Iterable[str]) -> None:
        """Make what the maintenance leader keeps for all; see `house`."""
        # Of its own: the room of a queue that is gone from these gauges is free again.
        self.standing = queue = Vocabulary(*operators, room=NAMES)
        self.removed = self._counter("retention_removed_total", table=None, how=None)
        self.depth = self._gauge("queue_depth", queue=queue, status=None)
        self.oldest = self._gauge("queue_oldest_seconds", queue=queue)
        self.serving = self._gauge("queue_workers", queue=queue)
        self.paused = self._gauge("queue_paused", queue=queue)
        self.workers = self._gauge("workers", state=None)
        self.queues_at = self._gauge("queue_gauges_timestamp_seconds")
        self.notify_queue = self._gauge("notify_queue_usage_ratio")
        self.backends = self._gauge("database_connections", state=None)
        self.backends_limit = self._gauge("database_connections_limit")
        self.oldest_transaction = self._gauge("database_oldest_transaction_seconds")
        self.xmin_age = self._gauge("database_xmin_age_transactions")
        self.live_rows = self._gauge("database_live_rows", table=None)
        self.dead_rows = self._gauge("database_dead_rows", table=None)
        self.table_bytes = self._gauge("database_table_bytes", table=None)
        self.in_recovery = self._gauge("database_in_recovery")
        self.database_at = self._gauge("database_gauges_timestamp_seconds")

    def _counter(self, name: str, **labels: Vocabulary | None) -> Counter:
        family = Counter(PREFIX + name, MEANINGS[name], labels)
        self.families.append(family)
        return family

    def _gauge(self, name: str, **labels: Vocabulary | None) -> Gauge:
        family = Gauge(PREFIX + name, MEANINGS[name], labels)
        self.families.append(family)
        return family

    def _histogram(
        self, name: str, bounds: Sequence[float], **labels: Vocabulary | None
    ) -> Histogram:
        family = Histogram(PREFIX + name, MEANINGS[name], bounds, labels)
        self.families.append(family)
        return family
