"""Where a job's time went: stages of its runs, derived from its row and its runs alone.

Nothing is written for it. When an earlier run was due is not kept, so what came before such a run
is one stage; the last run, which is the only one of nearly every job, is told in full.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import msgspec

from signalstack.core.ids import id_time
from signalstack.core.job import TERMINAL, Attempt, Job, Outcome, Status, Wake

if TYPE_CHECKING:
    from collections.abc import Sequence


class Step(StrEnum):
    """What a job does in a stage of its life."""

    STORE = "store"
    DELAY = "delay"
    BACKOFF = "backoff"
    OVER = "over"
    DISPATCH = "dispatch"
    RUN = "run"
    SETTLE = "settle"


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a job's time.

    `store`: taken in until it is written. `delay`: until it is due. `dispatch`: due until its
    handler starts (commit, notification, claim, a free slot). `run`: its handler. `settle`: until
    the outcome reaches PostgreSQL. `backoff`: between two tries. `over`: it had ended, until it was
    retried by hand. Before a run that was not the last one, `delay` and `backoff` reach to its
    start.
    """

    stage: Step
    attempt: Annotated[int, msgspec.Meta(description="The run that it belongs or leads to.")]
    started_at: datetime
    duration_ms: Annotated[
        float | None, msgspec.Meta(description="Milliseconds; null while it goes on.")
    ]
    wake: Annotated[
        Wake | None, msgspec.Meta(description="What woke the worker, of what leads to a run.")
    ] = None
    worker: Annotated[UUID | None, msgspec.Meta(description="Who ran it, of a run.")] = None
    outcome: Annotated[Outcome | None, msgspec.Meta(description="How it ended, of a run.")] = None


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """The stages of a job, first to last; `total_ms` is null until it has ended."""

    job_id: UUID
    status: Status
    total_ms: float | None
    stages: list[Stage]


def timeline(job: Job, runs: Sequence[Attempt]) -> Timeline:
    """Tell where the time of a job went.

    `runs` may have been read after the job and know more: the job's row decides.
    """
    last = max(job.attempt if job.started_at is not None else job.attempt + 1, 1)
    taken_at = min(id_time(job.id), job.created_at)
    stages = [_stage(Step.STORE, 1, taken_at, job.created_at)]
    since, before = job.created_at, None
    for run in runs:
        if run.attempt >= last or run.finished_at is None:
            break
        step = _waiting(before, delayed=run.wake is Wake.TIMER)
        stages.append(_stage(step, run.attempt, since, run.started_at, wake=run.wake))
        stages.append(_ran(run, run.started_at, run.finished_at, run.outcome))
        since, before = run.finished_at, run.outcome
    known = next((run for run in runs if run.attempt == last), None)
    stages += _last(job, last, since, before, known)
    ended = job.status in TERMINAL
    until = max(job.updated_at, job.finished_at or job.updated_at)
    return Timeline(
        job_id=job.id,
        status=job.status,
        total_ms=_ms(taken_at, until) if ended else None,
        stages=stages,
    )


def _last(
    job: Job, number: int, since: datetime, before: Outcome | None, run: Attempt | None
) -> list[Stage]:
    """Tell of the run that the job's row is about, be it over, going on or still to come."""
    due_at = max(since, job.run_at)
    first = _waiting(before, delayed=True)
    cancelled_at = job.finished_at if job.started_at is None else None
    if job.status is Status.SCHEDULED or (cancelled_at and cancelled_at < due_at):
        return [_stage(first, number, since, cancelled_at)]
    stages = [_stage(first, number, since, due_at)] if due_at > since else []
    wake = run.wake if run else None
    starts_at = job.started_at or cancelled_at
    stages.append(_stage(Step.DISPATCH, number, due_at, starts_at, wake=wake))
    if job.started_at is None:
        return stages
    known = run or _unknown(number, job.started_at)
    outcome = Outcome(job.status.value) if job.status in TERMINAL else None
    stages.append(_ran(known, job.started_at, job.finished_at, outcome))
    if job.finished_at is not None:
        stages.append(_stage(Step.SETTLE, number, job.finished_at, job.updated_at))
    return stages


def _waiting(before: Outcome | None, *, delayed: bool) -> Step:
    """Tell what a job did after a run that ended so, until the next one."""
    match before:
        case Outcome.RETRIED:
            return Step.BACKOFF
        case Outcome.SUCCEEDED | Outcome.FAILED | Outcome.CANCELLED:
            return Step.OVER
        case _:
            return Step.DELAY if delayed else Step.DISPATCH


def _ran(
    run: Attempt, started_at: datetime, ended_at: datetime | None, outcome: Outcome | None
) -> Stage:
    stage = _stage(Step.RUN, run.attempt, started_at, ended_at)
    return msgspec.structs.replace(stage, worker=run.worker, outcome=outcome)


def _stage(
    step: Step,
    attempt: int,
    started_at: datetime,
    ended_at: datetime | None,
    *,
    wake: Wake | None = None,
) -> Stage:
    lasted_ms = None if ended_at is None else _ms(started_at, ended_at)
    return Stage(
        stage=step, attempt=attempt, started_at=started_at, duration_ms=lasted_ms, wake=wake
    )


def _ms(since: datetime, until: datetime) -> float:
    # Some are read off a worker's clock and some off PostgreSQL's: never less than nothing.
    return max(round((until - since).total_seconds() * 1_000, 3), 0.0)


def _unknown(number: int, started_at: datetime) -> Attempt:
    """Stand for a run whose row had moved on when the runs were read."""
    return Attempt(
        attempt=number,
        worker=None,
        wake=None,
        started_at=started_at,
        finished_at=None,
        outcome=None,
        error=None,
        result=msgspec.Raw(b"null"),
    )
