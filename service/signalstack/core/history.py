"""What became of a job, status by status: derived from its row and its earlier runs alone.

Nothing is kept for it, so any process can tell the same story again, and a reader who names the
last change that it saw is told the ones after it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core.job import TERMINAL, Outcome, Status, Wake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.core.job import Job

_ID: Final = re.compile(r"([1-9][0-9]{0,8})-([a-z]+)")
# Within one run, in the order in which they come.
_PHASES: Final = {Status.SCHEDULED: 0, Status.PENDING: 1, Status.RUNNING: 2}
_LAST_PHASE: Final = 3
# What woke a run, and how the one before it ended, when it had been due at a later time; the last
# is a retry that was put off.
_DELAYED: Final = (
    (Wake.TIMER, None),
    (Wake.RETRY, Outcome.RETRIED),
    (Wake.TIMER, Outcome.RETRIED),
)
_ENDS: Final = {
    Outcome.SUCCEEDED: Status.SUCCEEDED,
    Outcome.FAILED: Status.FAILED,
    Outcome.CANCELLED: Status.CANCELLED,
}


class PastRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that came before the one which the job's row tells of."""

    attempt: int
    outcome: Outcome
    wake: str | None
    started_at: datetime
    finished_at: datetime


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A status that a job took on; `run` counts from 1, also while the run is waited for."""

    run: int
    status: Status
    at: datetime

    @property
    def id(self) -> str:
        """What names this change among all of its job's."""
        return f"{self.run}-{self.status}"

    @property
    def attempt(self) -> int:
        """How many runs had begun by then."""
        return self.run - 1 if self.status in (Status.SCHEDULED, Status.PENDING) else self.run

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands among the others."""
        return self.run, _PHASES.get(self.status, _LAST_PHASE)


def history(job: Job, attempts: Sequence[PastRun]) -> list[Change]:
    """List the changes of a job, oldest first; the last one is the status that it has.

    `attempts` may have been read after the job and know more: later runs are left out.
    """
    run = max(job.attempt if job.started_at is not None else job.attempt + 1, 1)
    changes: list[Change] = []
    since, before = job.created_at, None
    for past in attempts:
        if past.attempt >= run:
            break
        changes += _past(past, since, before)
        since, before = past.finished_at, past.outcome
    return changes + _present(job, run, since, before)


def since(changes: Sequence[Change], last_id: str | None) -> list[Change]:
    """Leave out the changes up to the one of this id.

    A job can be sent back to a status that it had, say when its cancelled run is tried again. Then
    no change comes after the last one seen, but the present one is another: it alone is news.

    Raises:
        ValueError: the id is none that a change can have.
    """
    if last_id is None:
        return list(changes)
    seen = _place(last_id)
    later = [change for change in changes if change.place > seen]
    if not later and changes and changes[-1].id != last_id:
        return [changes[-1]]
    return later


def _past(past: PastRun, since: datetime, before: Outcome | None) -> list[Change]:
    # When it became due was overwritten by the next run's time: no later than it started.
    delayed = (past.wake, before) in _DELAYED
    pending_at = past.started_at if delayed else since
    changes = _waited(past.attempt, since, pending_at, delayed=delayed)
    changes.append(Change(run=past.attempt, status=Status.RUNNING, at=past.started_at))
    if past.outcome in _ENDS:  # it was retried by hand
        ended = _ENDS[past.outcome]
        changes.append(Change(run=past.attempt, status=ended, at=past.finished_at))
    return changes


def _present(job: Job, run: int, since: datetime, before: Outcome | None) -> list[Change]:
    delayed = job.status is Status.SCHEDULED or (
        job.run_at > since and before in (None, Outcome.RETRIED)
    )
    changes = _waited(run, since, max(since, job.run_at), delayed=delayed)
    if job.status is Status.SCHEDULED:
        return changes[:1]
    if job.started_at is not None:
        changes.append(Change(run=run, status=Status.RUNNING, at=job.started_at))
    if job.status in TERMINAL:
        at = job.finished_at or job.updated_at
        if job.started_at is None:
            # It was cancelled while it waited, maybe before it was due.
            changes = [change for change in changes if change.at <= at]
        changes.append(Change(run=run, status=job.status, at=at))
    return changes


def _waited(run: int, since: datetime, pending_at: datetime, *, delayed: bool) -> list[Change]:
    pending = Change(run=run, status=Status.PENDING, at=pending_at)
    if not delayed:
        return [pending]
    return [Change(run=run, status=Status.SCHEDULED, at=since), pending]


def _place(change_id: str) -> tuple[int, int]:
    match = _ID.fullmatch(change_id)
    if match is None:
        raise ValueError(f"{change_id[:64]!r} names no change of a job")
    return int(match[1]), _PHASES.get(Status(match[2]), _LAST_PHASE)
