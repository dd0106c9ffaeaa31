"""What a caller may do to a job, each in one guarded statement; None when its state forbids it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core.job import Job
from signalstack.store.query import Query, execute, fetch_one

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.core.job import JobChange
    from signalstack.store.query import Connection

_AMEND: Final = Query("jobs/amend", Job)
_CANCEL_WAITING: Final = Query("jobs/cancel_waiting", Job)
_CANCEL_RUNNING: Final = Query("jobs/cancel_running", Job)
_RETRY: Final = Query("jobs/retry", Job)
_HIDE: Final = Query("jobs/hide", int)


async def amend(
    conn: Connection, *, user_id: UUID, job_id: UUID, change: JobChange, payload: bytes | None
) -> Job | None:
    """Change a job that has not started; `payload` is the change's own as canonical JSON."""
    return await fetch_one(
        conn,
        _AMEND,
        user_id=user_id,
        id=job_id,
        timed=change.run_at is not msgspec.UNSET,
        run_at=_given(change.run_at),
        priority=_given(change.priority),
        payload=None if payload is None else payload.decode(),
        max_attempts=_given(change.max_attempts),
    )


async def cancel_waiting(conn: Connection, *, user_id: UUID, job_id: UUID) -> Job | None:
    """Cancel a job that waits; it is finished with this."""
    return await fetch_one(conn, _CANCEL_WAITING, user_id=user_id, id=job_id)


async def cancel_running(conn: Connection, *, user_id: UUID, job_id: UUID) -> Job | None:
    """Ask for a running job to be cancelled; it goes on running until its worker has heard."""
    return await fetch_one(conn, _CANCEL_RUNNING, user_id=user_id, id=job_id)


async def retry(conn: Connection, *, user_id: UUID, job_id: UUID) -> Job | None:
    """Put a failed or cancelled job back, to run at once."""
    return await fetch_one(conn, _RETRY, user_id=user_id, id=job_id)


async def hide(conn: Connection, *, user_id: UUID, job_id: UUID) -> bool:
    """Hide a finished job; tell whether there was one that was not hidden."""
    return await execute(conn, _HIDE, user_id=user_id, id=job_id) > 0


def _given(value: object) -> object:
    return None if value is msgspec.UNSET else value
