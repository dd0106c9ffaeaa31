"""Metrics: facts move what they should, labels stay bounded, and taking a fact is cheap."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from calls import Bounded
from signalstack.core import stage
from signalstack.core.job import Outcome, Wake
from signalstack.core.reading import QueueReading, ServerReading, TableReading
from signalstack.telemetry.beginnings import PAIRS
from signalstack.telemetry.catalogue import NAMES
from signalstack.telemetry.cells import MAX_SERIES, Counter, Vocabulary
from signalstack.telemetry.meanings import MEANINGS, PREFIX
from signalstack.telemetry.observer import Telemetry

if TYPE_CHECKING:
    from signalstack.core.stage import Fact, Observer

JOB = UUID("018f0000-0000-7000-8000-000000000001")


def started(*, queue: str = "default", wake: Wake = Wake.NOTIFY, late_s: float = 0.001) -> Fact:
    return stage.Started(
        job=JOB, queue=queue, type="noop", attempt=1, wake=wake, due_at=0.0, at=late_s
    )


def finished(outcome: Outcome, *, type_: str = "noop", duration_s: float = 0.002) -> Fact:
    return stage.Finished(
        job=JOB, queue="default", type=type_, attempt=1, outcome=outcome, duration_s=duration_s
    )


def reading(
    queue: str, *, oldest_s: float = 1.0, workers: int = 1, paused: bool = False
) -> QueueReading:
    return QueueReading(
        queue=queue,
        pending=1,
        held=0,
        running=0,
        scheduled=0,
        oldest_s=oldest_s,
        workers=workers,
        paused=paused,
    )


def queues_read(*queues: QueueReading) -> Fact:
    return stage.QueuesRead(at=1.0, queues=queues, workers_alive=0, workers_stale=0)


EACH: list[Fact] = [
    stage.Serving(queues=(), types=("noop", "send_message")),
    started(),
    *(finished(outcome) for outcome in Outcome),
    stage.Requested(method="POST", route="/v1/events", status=201, duration_s=0.003),
    stage.EventReceived(outcome="accepted"),
    stage.Enqueued(queue="default", type="noop", count=5),
    stage.Flushed(writes=3, jobs=5, duration_s=0.001),
    stage.Woken(cause=Wake.TIMER),
    stage.Claimed(count=5, limit=10, duration_s=0.001, wakes={Wake.NOTIFY: 4, Wake.RETRY: 1}),
    stage.Claimed(count=0, limit=10, duration_s=0.001),
    stage.HandedOver(outcome="taken"),
    stage.HandedOver(outcome="lost"),
    stage.Settled(
        jobs=(JOB,),
        stale=2,
        duration_s=0.002,
        ended={
            ("default", "noop", Outcome.FAILED): 1,
            ("default", "noop", Outcome.RETRIED): 3,
            ("default", "noop", Outcome.RELEASED): 1,
        },
    ),
    stage.Closed(queue="mail", type="noop", outcome=Outcome.CANCELLED, count=8),
    stage.Rescued(count=4),
    stage.Queried(query="jobs/claim", duration_s=0.001),
    stage.ListenerChanged(name="claim", up=True, reason="connected"),
    stage.DatabaseReached(name="claim", up=True),
    stage.Heard(at=1_700_000_000.5),
    stage.RoundTripped(duration_s=0.0004),
    stage.SlotsChanged(busy=3, free=7),
    stage.PoolSampled(used=1, idle=2, waiting=0),
    stage.Delivered(outcome="gone", duration_s=0.2),
    stage.PutOff(job=JOB, wait_s=1.5),
    stage.MessageTried(outcome="rate_limited"),
    stage.CacheAsked(outcome="hit"),
    stage.LeaderChanged(leading=True),
    stage.LoopLagged(lag_s=0.003),
    stage.QueuesRead(
        at=1_700_000_000.0,
        queues=(
            QueueReading(
                queue="mail",
                pending=7,
                held=6,
                running=2,
                scheduled=3,
                oldest_s=1.5,
                workers=4,
                paused=True,
            ),
        ),
        workers_alive=5,
        workers_stale=1,
    ),
    stage.DatabaseRead(
        server=ServerReading(
            at=1_700_000_001.0,
            notify_queue=0.25,
            active=1,
            idle=2,
            in_transaction=3,
            other=4,
            connections_limit=100,
            oldest_transaction_s=9.0,
            xmin_age=11,
            in_recovery=False,
        ),
        tables=(TableReading(name="jobs", bytes=8_192, live=10, dead=4),),
    ),
    stage.Removed(table="events", how="deleted", count=6),
    stage.ChoreEnded(chore="roll_up", outcome="done", duration_s=0.01),
    stage.Ticked(outcome="enqueued", count=1, lag_s=0.004),
]

MOVES: list[tuple[str, dict[str, str], float]] = [
    ("events_received_total", {"outcome": "accepted"}, 1),
    ("jobs_enqueued_total", {"queue": "default", "type": "noop"}, 5),
    ("jobs_finished_total", {"queue": "default", "type": "noop", "outcome": "failed"}, 1),
    ("jobs_finished_total", {"queue": "mail", "type": "noop", "outcome": "cancelled"}, 8),
    ("job_retries_total", {"queue": "default", "type": "noop"}, 3),
    (
        "jobs_finished_total",
        {"queue": "messages", "type": "send_message", "outcome": "failed"},
        0,
    ),
    ("wakeups_total", {"cause": "timer"}, 1),
    ("handovers_total", {"outcome": "taken"}, 1),
    ("handovers_total", {"outcome": "lost"}, 1),
    ("messages_total", {"outcome": "rate_limited"}, 1),
    ("messages_total", {"outcome": "sent"}, 0),
    ("message_cache_requests_total", {"outcome": "hit"}, 1),
    ("wakeups_total", {"cause": "notify"}, 0),
    ("claims_total", {"result": "hit"}, 1),
    ("claims_total", {"result": "empty"}, 1),
    ("claimed_jobs_total", {"wake": "notify"}, 5),
    ("claimed_jobs_total", {"wake": "retry"}, 1),
    ("claimed_jobs_total", {"wake": "poll"}, 0),
    ("claim_batch_size_count", {}, 1),
    ("claim_batch_size_sum", {}, 5),
    ("claim_duration_seconds_count", {}, 2),
    ("flush_batch_size_sum", {}, 3),
    ("flush_duration_seconds_count", {}, 1),
    ("settle_duration_seconds_sum", {}, 0.002),
    ("jobs_rescued_total", {}, 4),
    ("stale_settlements_total", {}, 2),
    ("worker_slots", {"state": "busy"}, 3),
    ("worker_slots", {"state": "free"}, 7),
    ("chore_duration_seconds_count", {"chore": "roll_up", "outcome": "done"}, 1),
    ("queue_depth", {"queue": "mail", "status": "pending"}, 7),
    ("queue_depth", {"queue": "mail", "status": "paused"}, 6),
    ("queue_depth", {"queue": "mail", "status": "running"}, 2),
    ("queue_depth", {"queue": "mail", "status": "scheduled"}, 3),
    ("queue_oldest_seconds", {"queue": "mail"}, 1.5),
    ("retention_removed_total", {"table": "events", "how": "deleted"}, 6),
    ("queue_workers", {"queue": "mail"}, 4),
    ("queue_paused", {"queue": "mail"}, 1),
    ("workers", {"state": "stale"}, 1),
    ("queue_gauges_timestamp_seconds", {}, 1_700_000_000),
    ("notify_queue_usage_ratio", {}, 0.25),
    ("database_connections", {"state": "idle_in_transaction"}, 3),
    ("database_connections_limit", {}, 100),
    ("database_oldest_transaction_seconds", {}, 9),
    ("database_xmin_age_transactions", {}, 11),
    ("database_live_rows", {"table": "jobs"}, 10),
    ("database_dead_rows", {"table": "jobs"}, 4),
    ("database_table_bytes", {"table": "jobs"}, 8_192),
    ("database_in_recovery", {}, 0),
    ("listener_up", {}, 1),
    ("listener_mode", {"mode": "listening"}, 1),
    ("listener_mode", {"mode": "polling"}, 0),
    ("listener_last_notification_timestamp_seconds", {}, 1_700_000_000.5),
    ("event_loop_lag_seconds_sum", {}, 0.003),
    ("listener_reconnects_total", {}, 0),
    ("database_up", {}, 1),
    ("listener_roundtrip_seconds_sum", {}, 0.0004),
    ("db_query_duration_seconds_count", {"query": "jobs/claim"}, 1),
    ("db_pool_connections", {"state": "idle"}, 2),
    ("webhook_deliveries_total", {"outcome": "gone"}, 1),
    ("webhook_duration_seconds_count", {"outcome": "gone"}, 1),
    ("webhook_postponed_total", {}, 1),
    ("maintenance_leader", {}, 1),
    (
        "http_request_duration_seconds_count",
        {"method": "POST", "route": "/v1/events", "status": "201"},
        1,
    ),
    ("dispatch_latency_seconds_count", {"queue": "default", "wake": "notify"}, 1),
    (
        "job_duration_seconds_sum",
        {"queue": "default", "type": "noop", "outcome": "succeeded"},
        0.002,
    ),
]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(version="1.2.3", build={"role": "worker"})


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(PREFIX + name, labels)


@pytest.mark.parametrize(("name", "labels", "expected"), MOVES)
def test_each_fact_moves_its_metrics(
    telemetry: Telemetry, name: str, labels: dict[str, str], expected: float
) -> None:
    for fact in EACH:
        telemetry.tell(fact)

    assert value(telemetry, name, **labels) == pytest.approx(expected)


def test_every_kind_of_fact_is_taken(telemetry: Telemetry) -> None:
    assert {type(fact) for fact in EACH} == set(stage.Fact.__args__)

    observer: Observer = telemetry
    for fact in EACH:
        observer.tell(fact)


def test_a_latency_falls_in_the_bucket_whose_bound_it_does_not_pass(telemetry: Telemetry) -> None:
    for late_s in (0.0005, 0.0006, 59.0, 61.0, -1.0):
        telemetry.tell(started(late_s=late_s))

    def bucket(le: str) -> float | None:
        labels = {"queue": "default", "wake": "notify", "le": le}
        return value(telemetry, "dispatch_latency_seconds_bucket", **labels)

    # The negative one is a clock that was set back: it counts, as no latency at all.
    bounds = ("0.0005", "0.001", "30.0", "60.0", "+Inf")
    assert [bucket(bound) for bound in bounds] == [2, 3, 3, 4, 5]


def test_only_terminal_outcomes_count_as_finished(telemetry: Telemetry) -> None:
    ended = {("default", "noop", outcome): 1 for outcome in Outcome}
    telemetry.tell(stage.Settled(jobs=(JOB,), stale=0, duration_s=0.001, ended=ended))

    counted = {
        sample.labels["outcome"]
        for family in telemetry.registry.collect()
        if family.name == f"{PREFIX}jobs_finished"
        for sample in family.samples
    }
    assert counted == {"succeeded", "failed", "cancelled"}


def test_what_nobody_has_recorded_yet_counts_as_a_run_and_not_as_finished(
    telemetry: Telemetry,
) -> None:
    for outcome in (Outcome.SUCCEEDED, Outcome.RETRIED):
        telemetry.tell(finished(outcome))

    labels = {"queue": "default", "type": "noop"}
    assert value(telemetry, "job_duration_seconds_count", outcome="succeeded", **labels) == 1
    assert not value(telemetry, "jobs_finished_total", outcome="succeeded", **labels)
    assert not value(telemetry, "job_retries_total", **labels)


def test_jobs_that_end_without_a_run_count_as_finished_and_as_no_run(telemetry: Telemetry) -> None:
    failed = {("default", "noop", Outcome.FAILED): 1}
    telemetry.tell(finished(Outcome.FAILED))
    telemetry.tell(stage.Settled(jobs=(JOB,), stale=0, duration_s=0.001, ended=failed))
    for outcome, count in ((Outcome.FAILED, 3), (Outcome.CANCELLED, 1)):
        telemetry.tell(stage.Closed(queue="default", type="noop", outcome=outcome, count=count))

    labels = {"queue": "default", "type": "noop"}
    ended = [
        value(telemetry, "jobs_finished_total", outcome=outcome, **labels)
        for outcome in ("failed", "cancelled")
    ]
    assert ended == [4, 1]
    assert value(telemetry, "job_duration_seconds_count", outcome="failed", **labels) == 1
    assert value(telemetry, "job_duration_seconds_count", outcome="cancelled", **labels) is None


def begun(telemetry: Telemetry) -> set[tuple[str, str]]:
    """List the queues and job types of which a failure would be seen, and a retry."""
    families = {family.name.removeprefix(PREFIX): family for family in telemetry.registry.collect()}
    failed, retried = (
        {
            (sample.labels["queue"], sample.labels["type"])
            for sample in families[name].samples
            if sample.value == 0 and sample.labels.get("outcome", "failed") == "failed"
        }
        for name in ("jobs_finished", "job_retries")
    )
    return failed & retried


def test_the_first_failures_of_a_worker_are_seen_since_it_begins_at_none(
    telemetry: Telemetry,
) -> None:
    telemetry.tell(stage.Serving(queues=(), types=("noop", "send_message")))
    assert begun(telemetry) == {("default", "noop"), ("messages", "send_message")}

    telemetry.tell(stage.Serving(queues=("mail", "bulk"), types=("noop",)))
    assert begun(telemetry) >= {("mail", "noop"), ("bulk", "noop")}


def test_a_worker_of_many_queues_and_types_begins_a_bounded_number(telemetry: Telemetry) -> None:
    names = tuple(f"n{number}" for number in range(50))
    telemetry.tell(stage.Serving(queues=names, types=names))

    assert len(begun(telemetry)) == PAIRS


@pytest.mark.parametrize("first", [started(), finished(Outcome.RETRIED)], ids=["start", "end"])
def test_of_a_queue_that_nobody_announced_failures_begin_with_its_first_job(
    telemetry: Telemetry, first: Fact
) -> None:
    telemetry.tell(first)

    assert begun(telemetry) == {("default", "noop")}


def test_the_failures_of_a_route_begin_at_none(telemetry: Telemetry) -> None:
    for method, status in (("POST", 201), ("PUT", 405)):
        telemetry.tell(
            stage.Requested(method=method, route="/v1/jobs", status=status, duration_s=0.001)
        )

    def count(method: str, status: str) -> float | None:
        labels = {"method": method, "route": "/v1/jobs", "status": status}
        return value(telemetry, "http_request_duration_seconds_count", **labels)

    assert [count("POST", "201"), count("POST", "500"), count("POST", "503")] == [1, 0, 0]
    assert [count("PUT", "405"), count("PUT", "500")] == [1, None]


def test_a_listener_that_comes_back_counts_as_reconnected(telemetry: Telemetry) -> None:
    for up in (False, True, False, True):
        telemetry.tell(stage.ListenerChanged(name="claim", up=up, reason="test"))

    assert value(telemetry, "listener_reconnects_total") == 1
    assert value(telemetry, "listener_up") == 1


def test_a_process_listens_when_all_of_its_listeners_do(telemetry: Telemetry) -> None:
    for name, up in (("intake", True), ("claim", False), ("intake", True)):
        telemetry.tell(stage.ListenerChanged(name=name, up=up, reason="test"))

    assert value(telemetry, "listener_up") == 0
    assert value(telemetry, "listener_mode", mode="polling") == 1
    assert value(telemetry, "listener_mode", mode="listening") == 0


def test_who_is_not_to_listen_is_not_down(telemetry: Telemetry) -> None:
    telemetry.tell(stage.ListenerChanged(name="claim", up=False, reason="test", wanted=False))

    assert value(telemetry, "listener_up") is None
    assert value(telemetry, "listener_mode", mode="off") == 1
    assert value(telemetry, "listener_mode", mode="polling") == 0
    assert value(telemetry, "listener_mode", mode="listening") == 0

    telemetry.tell(stage.ListenerChanged(name="intake", up=False, reason="test"))
    assert value(telemetry, "listener_up") == 0
    assert value(telemetry, "listener_mode", mode="off") == 0
    assert value(telemetry, "listener_mode", mode="polling") == 1

    telemetry.tell(stage.ListenerChanged(name="intake", up=True, reason="test"))
    assert value(telemetry, "listener_up") == 1
    assert value(telemetry, "listener_mode", mode="off") == 1


def test_a_process_reaches_the_database_when_all_its_connections_do(telemetry: Telemetry) -> None:
    for name, up in (("intake", True), ("claim", False), ("intake", True)):
        telemetry.tell(stage.DatabaseReached(name=name, up=up))

    assert value(telemetry, "database_up") == 0

    telemetry.tell(stage.DatabaseReached(name="claim", up=True))
    assert value(telemetry, "database_up") == 1


def test_a_gauge_that_nobody_told_is_absent(telemetry: Telemetry) -> None:
    assert value(telemetry, "listener_up") is None
    assert value(telemetry, "maintenance_leader") is None


def test_build_info_says_what_runs(telemetry: Telemetry) -> None:
    [family] = [f for f in telemetry.registry.collect() if f.name == f"{PREFIX}build_info"]
    [sample] = family.samples
    assert sample.labels["version"] == "1.2.3"
    assert sample.labels["role"] == "worker"
    assert set(sample.labels) == {"version", "python", "role"}


def test_queues_past_the_limit_become_other(telemetry: Telemetry) -> None:
    for number in range(NAMES + 3):
        telemetry.tell(started(queue=f"q{number}"))

    def count(queue: str) -> float | None:
        return value(telemetry, "dispatch_latency_seconds_count", queue=queue, wake="notify")

    assert [count(f"q{NAMES - 1}"), count(f"q{NAMES}"), count("other")] == [1, None, 3]


@pytest.mark.parametrize("queue", ["default", "messages", "mail"])
def test_the_queues_of_the_house_and_the_operator_need_no_room(queue: str) -> None:
    telemetry = Telemetry(version="1.2.3", queues=("mail",))
    for number in range(2 * NAMES):
        for wake in Wake:  # more than any family holds
            telemetry.tell(started(queue=f"q{number}", wake=wake))
    telemetry.tell(started(queue=queue))
    tenants = [reading(f"a{number}") for number in range(NAMES + 3)]
    telemetry.tell(queues_read(*tenants, reading(queue, oldest_s=9.0)))

    labels = {"queue": queue, "wake": "notify"}
    assert value(telemetry, "dispatch_latency_seconds_count", **labels) == 1
    assert value(telemetry, "queue_oldest_seconds", queue=queue) == 9
    assert value(telemetry, "queue_oldest_seconds", queue="other") == 1


def test_a_queue_that_is_gone_leaves_its_room_in_the_leaders_gauges(telemetry: Telemetry) -> None:
    for letter in "ab":
        telemetry.tell(queues_read(*(reading(f"{letter}{number}") for number in range(NAMES))))

    family = [f for f in telemetry.registry.collect() if f.name == f"{PREFIX}queue_oldest_seconds"]
    shown = {sample.labels["queue"] for sample in family[0].samples}
    assert shown == {f"b{number}" for number in range(NAMES)}


def test_an_unknown_method_becomes_other(telemetry: Telemetry) -> None:
    telemetry.tell(stage.Requested(method="BREW", route="/", status=405, duration_s=0.1))

    labels = {"method": "other", "route": "/", "status": "405"}
    assert value(telemetry, "http_request_duration_seconds_count", **labels) == 1


def test_a_family_never_has_more_series_than_its_limit() -> None:
    words = Vocabulary(room=100), Vocabulary(room=100)
    family = Counter("x_total", "", {"queue": words[0], "type": words[1], "outcome": None})

    for number in range(2 * MAX_SERIES):
        family.add(1, f"q{number % 97}", f"t{number % 89}", "ok")

    assert len(family.cells) == MAX_SERIES + 1
    assert family.cell("other", "other", "ok")[0] == MAX_SERIES
    assert sum(cell[0] for cell in family.cells.values()) == 2 * MAX_SERIES


def test_every_metric_has_a_meaning_and_the_other_way_round(telemetry: Telemetry) -> None:
    for fact in EACH:
        telemetry.tell(fact)
    text = generate_latest(telemetry.registry).decode()

    helps = {line.split(" ", 3)[2] for line in text.splitlines() if line.startswith("# HELP")}
    ours = {name.removeprefix(PREFIX) for name in helps if name.startswith(PREFIX)}
    assert ours == set(MEANINGS)


def test_scrapes_in_another_thread_disturb_nothing(telemetry: Telemetry) -> None:
    done = threading.Event()
    failures: list[Exception] = []

    def scrape() -> None:
        try:
            while not done.is_set():
                list(text_string_to_metric_families(generate_latest(telemetry.registry).decode()))
        except Exception as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    for number in range(20_000):
        telemetry.tell(started(queue=f"q{number % 150}"))
        telemetry.tell(finished(Outcome.SUCCEEDED, type_=f"t{number % 150}"))
    done.set()
    scraper.join()

    assert not failures
    counts = [
        value(telemetry, "dispatch_latency_seconds_count", queue=f"q{n}", wake="notify") or 0
        for n in range(150)
    ]
    assert sum(counts) == 20_000


def test_a_fact_that_cannot_be_taken_is_logged_once_and_does_not_raise(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    broken = stage.Queried(query="x", duration_s="soon")  # pyright: ignore[reportArgumentType] - the point

    telemetry.tell(broken)
    telemetry.tell(broken)

    assert [record.message for record in caplog.records] == ["observer.fact_lost"]


def test_the_facts_of_every_job_cost_little(telemetry: Telemetry) -> None:
    for fact in (started(), finished(Outcome.SUCCEEDED)):
        telemetry.tell(fact)  # the first one makes its series

        with Bounded(4):  # tell, its taker, the look for the cell, and for the bucket
            telemetry.tell(fact)


def test_the_leaders_gauges_vanish_when_another_one_leads(telemetry: Telemetry) -> None:
    for fact in EACH:
        telemetry.tell(fact)
    told = {"queue_depth", "workers", "database_table_bytes", "database_in_recovery"}
    assert told <= _names(telemetry)

    telemetry.tell(stage.LeaderChanged(leading=False))

    assert not [name for name in _names(telemetry) if name.startswith(("queue_", "database_d"))]
    assert told.isdisjoint(_names(telemetry))
    assert value(telemetry, "maintenance_leader") == 0


def test_queues_without_a_name_of_their_own_are_shown_together(telemetry: Telemetry) -> None:
    telemetry.tell(
        queues_read(
            *(
                reading(f"q{n}", oldest_s=float(n), workers=n, paused=n == 300)
                for n in range(1, 301)
            )
        )
    )

    assert value(telemetry, "queue_depth", queue="other", status="pending") == 100
    assert value(telemetry, "queue_oldest_seconds", queue="other") == 300
    assert value(telemetry, "queue_workers", queue="other") == 201
    assert value(telemetry, "queue_paused", queue="other") == 1


def _names(telemetry: Telemetry) -> set[str]:
    return {
        sample.name.removeprefix(PREFIX)
        for family in telemetry.registry.collect()
        for sample in family.samples
    }
