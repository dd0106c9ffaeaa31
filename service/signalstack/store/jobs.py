"""Tables jobs and finished_jobs, read as one: a job is in exactly one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core.event_detail import JobSummary
from signalstack.core.job import Job
from signalstack.store.query import Query, fetch_all, fetch_one

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from signalstack.store.query import Connection

_GET: Final = Query("jobs/get", Job)
_FOR_EVENT: Final = Query("jobs/for_event", JobSummary)


async def get(conn: Connection, *, user_id: UUID, job_id: UUID) -> Job | None:
    """Find one of the tenant's jobs, live or finished; a hidden one is not found."""
    return await fetch_one(conn, _GET, user_id=user_id, id=job_id)


async def for_event(conn: Connection, *, user_id: UUID, ids: Sequence[UUID]) -> list[JobSummary]:
    """Tell where the tenant's jobs stand, in the order of `ids`; hidden ones are left out."""
    return await fetch_all(conn, _FOR_EVENT, user_id=user_id, ids=list(ids))
