"""A job's timeline: every stage of every run, from what its rows keep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from signalstack.core.ids import id_floor
from signalstack.core.job import Attempt, Job, Outcome, Status, Wake
from signalstack.core.timeline import timeline

START = datetime(2030, 1, 1, tzinfo=UTC)
ID = UUID(int=id_floor(START).int | 7 << 76 | 2 << 62)
WORKER = UUID(int=1)


def at(ms: float) -> datetime:
    return START + timedelta(milliseconds=ms)


def job(status: Status, **given: Any) -> Job:
    facts: dict[str, Any] = {
        "run_at": at(3),
        "attempt": 1,
        "started_at": None,
        "finished_at": None,
        "updated_at": at(3),
    }
    return Job(
        id=ID,
        type="noop",
        queue="default",
        status=status,
        priority=0,
        payload=msgspec.Raw(b"null"),
        max_attempts=3,
        timeout_s=None,
        idempotency_key=None,
        event_id=None,
        result=msgspec.Raw(b"null"),
        last_error=None,
        created_at=at(3),
        **facts | given,
    )


def run(
    attempt: int, since: float, until: float | None, outcome: str | None, wake: Wake
) -> Attempt:
    return Attempt(
        attempt=attempt,
        worker=WORKER,
        wake=wake,
        started_at=at(since),
        finished_at=None if until is None else at(until),
        outcome=None if outcome is None else Outcome(outcome),
        error=None,
        result=msgspec.Raw(b"null"),
    )


def told(job: Job, *runs: Attempt) -> list[tuple[str, int, float | None]]:
    return [
        (stage.stage.value, stage.attempt, stage.duration_ms)
        for stage in timeline(job, runs).stages
    ]


def test_a_job_that_succeeds_at_once_is_told_in_four_stages() -> None:
    done = job(Status.SUCCEEDED, started_at=at(8), finished_at=at(40), updated_at=at(42))

    found = timeline(done, [run(1, 8, 40, "succeeded", Wake.NOTIFY)])

    assert told(done, run(1, 8, 40, "succeeded", Wake.NOTIFY)) == [
        ("store", 1, 3),
        ("dispatch", 1, 5),
        ("run", 1, 32),
        ("settle", 1, 2),
    ]
    store, dispatch, ran, settle = found.stages
    assert [stage.started_at for stage in found.stages] == [at(0), at(3), at(8), at(40)]
    assert (dispatch.wake, ran.worker, ran.outcome) == (Wake.NOTIFY, WORKER, Outcome.SUCCEEDED)
    assert (store.worker, store.wake, settle.outcome) == (None, None, None)
    assert found.total_ms == 42


def test_a_retry_shows_its_backoff_apart_from_its_dispatch() -> None:
    done = job(
        Status.FAILED,
        attempt=3,
        run_at=at(1_200),
        started_at=at(1_204),
        finished_at=at(1_300),
        updated_at=at(1_301),
    )
    first, second = run(1, 5, 10, "retried", Wake.NOTIFY), run(2, 110, 120, "retried", Wake.RETRY)

    assert told(done, first, second, run(3, 1_204, 1_300, "failed", Wake.RETRY)) == [
        ("store", 1, 3),
        ("dispatch", 1, 2),
        ("run", 1, 5),
        ("backoff", 2, 100),  # to its start: when it was due is not kept
        ("run", 2, 10),
        ("backoff", 3, 1_080),
        ("dispatch", 3, 4),
        ("run", 3, 96),
        ("settle", 3, 1),
    ]


@pytest.mark.parametrize(
    ("state", "stages"),
    [
        (job(Status.SCHEDULED, attempt=0, run_at=at(5_000)), [("delay", 1, None)]),
        (
            job(Status.PENDING, attempt=0, run_at=at(5_000)),
            [("delay", 1, 4_997), ("dispatch", 1, None)],
        ),
        (job(Status.RUNNING, started_at=at(7)), [("dispatch", 1, 4), ("run", 1, None)]),
        (job(Status.CANCELLED, attempt=0, finished_at=at(9)), [("dispatch", 1, 6)]),
        (
            job(Status.CANCELLED, attempt=0, run_at=at(5_000), finished_at=at(9)),
            [("delay", 1, 6)],
        ),
    ],
)
def test_what_goes_on_has_no_duration_yet(
    state: Job, stages: list[tuple[str, int, float | None]]
) -> None:
    assert told(state) == [("store", 1, 3), *stages]
    assert (timeline(state, []).total_ms is None) == (state.status is not Status.CANCELLED)


@pytest.mark.parametrize(
    ("before", "step"), [("lost", "dispatch"), ("released", "dispatch"), ("failed", "over")]
)
def test_what_lies_between_two_runs_follows_from_how_the_first_ended(
    before: str, step: str
) -> None:
    # A job that was retried by hand is due from then on; one that was lost has been due all along.
    due = at(90) if before == "failed" else at(3)
    again = job(Status.RUNNING, attempt=2, run_at=due, started_at=at(100))

    found = told(again, run(1, 5, 50, before, Wake.NOTIFY), run(2, 100, None, None, Wake.RESCUE))

    between = [("over", 2, 40), ("dispatch", 2, 10)] if step == "over" else [("dispatch", 2, 50)]
    assert found[3:] == [*between, ("run", 2, None)]


def test_runs_that_were_read_later_than_the_job_change_nothing() -> None:
    running = job(Status.RUNNING, started_at=at(7))

    seen = told(running, run(1, 8, 9, "retried", Wake.NOTIFY), run(2, 20, None, None, Wake.RETRY))

    assert seen == [("store", 1, 3), ("dispatch", 1, 4), ("run", 1, None)]


def test_clocks_that_differ_take_no_time_away() -> None:
    done = job(Status.SUCCEEDED, started_at=at(1), finished_at=at(2), updated_at=at(1))

    assert [stage.duration_ms for stage in timeline(done, []).stages] == [3, 0, 1, 0]
