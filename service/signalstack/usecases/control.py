"""Controlling jobs: amend, cancel, retry, hide.

Each is one guarded statement that does its work or touches nothing, so no two callers, workers or
rescuers can act on the same state. Only when it touched nothing is the job looked at to say why;
where what is seen would have allowed it, the job moved meanwhile, and the statement is tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from signalstack.core.document import canonical
from signalstack.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from signalstack.core.fit import fit
from signalstack.core.job import LIVE, RETRIABLE, TERMINAL, WAITING, Outcome, Status
from signalstack.core.stage import Closed
from signalstack.store import job_changes, jobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from signalstack.core.handler import Registry
    from signalstack.core.job import Job, JobChange
    from signalstack.core.stage import Observer
    from signalstack.store.pool import Pool
    from signalstack.store.query import Connection

# Each further round needs the job to have changed its state between two statements.
_TRIES: Final = 10

Done = TypeVar("Done")


async def amend(
    pool: Pool, user_id: UUID, job_id: UUID, change: JobChange, *, job_types: Registry
) -> Job:
    """Change a job that has not started.

    Raises:
        InvalidError: nothing is to be changed, or the payload does not fit the job's type.
        NotFoundError: there is no such job.
        ConflictError: it has started.
    """
    if change == type(change)():
        raise InvalidError.at("", f"give at least one of {', '.join(change.__struct_fields__)}")
    async with pool.connection(user_id) as conn:
        payload = None
        if change.payload is not msgspec.UNSET:
            # A type never changes, so it may be read before.
            job = await _find(conn, user_id, job_id)
            _refuse_started(job)
            payload = _check_payload(change.payload, job.type, job_types)

        async def act() -> Job | None:
            return await job_changes.amend(
                conn, user_id=user_id, job_id=job_id, change=change, payload=payload
            )

        return await _do(conn, user_id, job_id, act, _refuse_started)


async def cancel(pool: Pool, user_id: UUID, job_id: UUID, *, observer: Observer) -> Job:
    """Cancel a waiting job at once, or have a running one's worker stop it; again changes nothing.

    Raises:
        NotFoundError: there is no such job.
        ConflictError: it has succeeded or failed.
    """
    async with pool.connection(user_id) as conn:

        async def act() -> Job | None:
            waiting = await job_changes.cancel_waiting(conn, user_id=user_id, job_id=job_id)
            if waiting is None:
                return await job_changes.cancel_running(conn, user_id=user_id, job_id=job_id)
            # No worker will tell of it.
            observer.tell(
                Closed(queue=waiting.queue, type=waiting.type, outcome=Outcome.CANCELLED, count=1)
            )
            return waiting

        return await _do(conn, user_id, job_id, act, _accept_cancelled)


async def retry(pool: Pool, user_id: UUID, job_id: UUID) -> Job:
    """Put a failed or cancelled job back to run now, with at least one more attempt to go.

    Raises:
        NotFoundError: there is no such job.
        ConflictError: it is live, or has succeeded.
    """
    async with pool.connection(user_id) as conn:

        async def act() -> Job | None:
            return await job_changes.retry(conn, user_id=user_id, job_id=job_id)

        return await _do(conn, user_id, job_id, act, _refuse_retrying)


async def hide(pool: Pool, user_id: UUID, job_id: UUID) -> None:
    """Hide a finished job; it is not found any more.

    Raises:
        NotFoundError: there is no such job, or it is hidden already.
        ConflictError: it is live.
    """
    async with pool.connection(user_id) as conn:

        async def act() -> bool | None:
            return await job_changes.hide(conn, user_id=user_id, job_id=job_id) or None

        await _do(conn, user_id, job_id, act, _refuse_hiding)


async def _do(
    conn: Connection,
    user_id: UUID,
    job_id: UUID,
    act: Callable[[], Awaitable[Done | None]],
    judge: Callable[[Job], Done | None],
) -> Done:
    """Act until it takes; where the state forbids it `judge` raises, or has the answer."""
    for _ in range(_TRIES):
        done = await act()
        if done is None:
            done = judge(await _find(conn, user_id, job_id))
        if done is not None:
            return done
    raise UnavailableError("the job changes faster than it can be acted on; try again")


async def _find(conn: Connection, user_id: UUID, job_id: UUID) -> Job:
    job = await jobs.get(conn, user_id=user_id, job_id=job_id)
    if job is None:
        raise NotFoundError(f"there is no job {job_id}")
    return job


def _check_payload(payload: Any, type_: str, job_types: Registry) -> bytes:
    job_type = job_types.get(type_)
    if job_type is None:
        raise InvalidError.at("/payload", f"what {type_!r} takes is not known here any more")
    fit(payload, job_type.payload, "/payload")
    return canonical(payload)


def _refuse_started(job: Job) -> None:
    if job.status not in WAITING:
        raise ConflictError(f"the job is {job.status}: only one that has not started can change")
    if job.attempt > 0:
        raise ConflictError(
            f"the job is {job.status} after attempt {job.attempt}: "
            "only one that has not started can change"
        )


def _accept_cancelled(job: Job) -> Job | None:
    if job.status is Status.CANCELLED:
        return job
    if job.status in TERMINAL:
        raise ConflictError(f"the job is {job.status}: only a live one can be cancelled")
    return None


def _refuse_retrying(job: Job) -> None:
    if job.status not in RETRIABLE:
        raise ConflictError(
            f"the job is {job.status}: only a failed or cancelled one can be retried"
        )


def _refuse_hiding(job: Job) -> None:
    if job.status in LIVE:
        raise ConflictError(f"the job is {job.status}: only a finished one can be deleted")
