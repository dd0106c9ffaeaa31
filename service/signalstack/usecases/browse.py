"""Browsing: pages of jobs and their cursors, the runs of one job, and where its time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalstack.core.cursor import Cursors
from signalstack.core.errors import NotFoundError
from signalstack.core.timeline import timeline
from signalstack.store import attempts, job_lists, jobs, secrets

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.core.job import Attempt, JobFilter
    from signalstack.core.timeline import Timeline
    from signalstack.store.job_lists import Page
    from signalstack.store.pool import Pool


async def load_cursors(pool: Pool) -> Cursors:
    """Read the key that signs cursors, the same in all processes and after every restart."""
    async with pool.connection() as conn:
        return Cursors(await secrets.get(conn, name=secrets.CURSORS))


async def list_jobs(
    pool: Pool, user_id: UUID, wanted: JobFilter, *, limit: int, below: UUID | None = None
) -> Page:
    """List the tenant's jobs that fit and are older than the id `below`, newest first."""
    async with pool.connection(user_id) as conn:
        return await job_lists.list_page(
            conn, user_id=user_id, wanted=wanted, below=below, limit=limit
        )


async def list_attempts(pool: Pool, user_id: UUID, job_id: UUID) -> list[Attempt]:
    """List all runs of one of the tenant's jobs, first to last.

    Raises:
        NotFoundError: there is no such job, or it was hidden.
    """
    async with pool.connection(user_id) as conn:
        if await jobs.get(conn, user_id=user_id, job_id=job_id) is None:
            raise NotFoundError(f"there is no job {job_id}")
        return await attempts.list_all(conn, user_id=user_id, job_id=job_id)


async def trace_time(pool: Pool, user_id: UUID, job_id: UUID) -> Timeline:
    """Tell where the time of one of the tenant's jobs went.

    Raises:
        NotFoundError: there is no such job, or it was hidden.
    """
    async with pool.connection(user_id) as conn:
        job = await jobs.get(conn, user_id=user_id, job_id=job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id}")
        return timeline(job, await attempts.list_all(conn, user_id=user_id, job_id=job_id))
