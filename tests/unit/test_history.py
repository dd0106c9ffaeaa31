"""A job's history is derived from its row and earlier runs, and can be told from any point on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from signalstack.core.history import PastRun, history, since
from signalstack.core.job import Job, Outcome, Status

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def job(status: Status, **fields: Any) -> Job:
    usual: dict[str, Any] = {
        "id": uuid4(),
        "type": "noop",
        "queue": "default",
        "status": status,
        "priority": 0,
        "payload": msgspec.Raw(b"null"),
        "run_at": T0,
        "attempt": 0,
        "max_attempts": 3,
        "timeout_s": None,
        "idempotency_key": None,
        "event_id": None,
        "result": msgspec.Raw(b"null"),
        "last_error": None,
        "created_at": T0,
        "started_at": None,
        "finished_at": None,
        "updated_at": T0,
    }
    return Job(**usual | fields)


def past(attempt: int, outcome: Outcome, begin: float, end: float, wake: str = "notify") -> PastRun:
    return PastRun(
        attempt=attempt, outcome=outcome, wake=wake, started_at=at(begin), finished_at=at(end)
    )


def told(of: Job, *attempts: PastRun) -> list[tuple[str, int, float]]:
    return [
        (change.id, change.attempt, (change.at - T0).total_seconds())
        for change in history(of, attempts)
    ]


def test_a_job_that_waits_is_pending() -> None:
    assert told(job(Status.PENDING)) == [("1-pending", 0, 0)]


def test_a_job_for_later_is_scheduled_until_it_is_due() -> None:
    assert told(job(Status.SCHEDULED, run_at=at(9))) == [("1-scheduled", 0, 0)]
    assert told(job(Status.PENDING, run_at=at(9))) == [
        ("1-scheduled", 0, 0),
        ("1-pending", 0, 9),
    ]


def test_a_run_follows_its_waiting() -> None:
    running = job(Status.RUNNING, attempt=1, started_at=at(2))
    assert told(running) == [("1-pending", 0, 0), ("1-running", 1, 2)]
    done = job(Status.SUCCEEDED, attempt=1, started_at=at(2), finished_at=at(3))
    assert told(done) == [*told(running), ("1-succeeded", 1, 3)]


def test_each_retry_is_a_run_of_its_own() -> None:
    runs = [
        past(1, Outcome.RETRIED, 1, 2),
        past(2, Outcome.RETRIED, 5, 6, "retry"),
        past(3, Outcome.LOST, 8, 9, "retry"),
    ]
    failed = job(Status.FAILED, attempt=4, run_at=at(7), started_at=at(10), finished_at=at(11))
    assert told(failed, *runs) == [
        ("1-pending", 0, 0),
        ("1-running", 1, 1),
        ("2-scheduled", 1, 2),
        ("2-pending", 1, 5),
        ("2-running", 2, 5),
        ("3-scheduled", 2, 6),
        ("3-pending", 2, 8),
        ("3-running", 3, 8),
        ("4-pending", 3, 9),
        ("4-running", 4, 10),
        ("4-failed", 4, 11),
    ]


def test_a_retry_that_waits_is_scheduled() -> None:
    waiting = job(Status.SCHEDULED, attempt=1, run_at=at(5))
    assert told(waiting, past(1, Outcome.RETRIED, 1, 2))[-1] == ("2-scheduled", 1, 2)


def test_a_run_handed_back_is_pending_again() -> None:
    waiting = job(Status.PENDING, attempt=1)
    assert told(waiting, past(1, Outcome.RELEASED, 1, 2))[-1] == ("2-pending", 1, 2)


def test_a_retry_by_hand_comes_after_the_end() -> None:
    again = job(Status.RUNNING, attempt=2, run_at=at(8), started_at=at(9))
    assert [id_ for id_, _, _ in told(again, past(1, Outcome.FAILED, 1, 2))] == [
        "1-pending",
        "1-running",
        "1-failed",
        "2-pending",
        "2-running",
    ]


def test_runs_that_were_read_after_the_job_are_left_out() -> None:
    running = job(Status.RUNNING, attempt=1, started_at=at(1))
    assert told(running, past(1, Outcome.RETRIED, 1, 2)) == told(running)


@pytest.mark.parametrize(("run_at", "before"), [(0, ["1-pending"]), (99, ["1-scheduled"])])
def test_a_job_cancelled_while_it_waited_never_ran(run_at: float, before: list[str]) -> None:
    cancelled = job(Status.CANCELLED, run_at=at(run_at), finished_at=at(5))
    assert [id_ for id_, _, _ in told(cancelled)] == [*before, "1-cancelled"]


def test_what_was_seen_is_not_told_again() -> None:
    changes = history(job(Status.SUCCEEDED, attempt=1, started_at=at(2), finished_at=at(3)), [])
    assert since(changes, None) == changes
    assert since(changes, "1-pending") == changes[1:]
    assert since(changes, "1-succeeded") == []


def test_a_status_that_came_again_is_news() -> None:
    # Cancelled while it waited, seen, and then retried: its first run is still to come.
    again = history(job(Status.PENDING), [])
    assert [change.id for change in since(again, "1-cancelled")] == ["1-pending"]
    assert since(again, "1-pending") == []


def test_a_reader_may_know_of_what_cannot_be_derived() -> None:
    changes = history(job(Status.RUNNING, attempt=1, started_at=at(1)), [])
    assert [change.id for change in since(changes, "1-scheduled")] == ["1-pending", "1-running"]


@pytest.mark.parametrize(
    "last_id", ["", "7", "0-pending", "1-", "1-done", "x-running", "1-running "]
)
def test_what_is_no_id_is_refused(last_id: str) -> None:
    with pytest.raises(ValueError, match=r"change|Status"):
        since([], last_id)


def test_a_retry_that_was_put_off_was_scheduled_and_came_due_once() -> None:
    third = job(Status.RUNNING, attempt=3, started_at=at(40), run_at=at(39))
    runs = (past(1, Outcome.RETRIED, 1, 2), past(2, Outcome.RETRIED, 20, 21, wake="timer"))
    assert [change for change in told(third, *runs) if change[0].startswith("2-")] == [
        ("2-scheduled", 1, 2),
        ("2-pending", 1, 20),
        ("2-running", 2, 20),
    ]


def test_a_job_that_is_put_off_while_it_runs_is_scheduled_again() -> None:
    changes = history(job(Status.SCHEDULED, run_at=at(9)), ())
    assert [change.id for change in since(changes, "1-running")] == ["1-scheduled"]
