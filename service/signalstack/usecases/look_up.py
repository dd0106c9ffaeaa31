"""Looking up one job or one event; another tenant's looks like an unknown one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from signalstack.core.errors import ConflictError, NotFoundError
from signalstack.core.event import Event
from signalstack.core.event_detail import EventDetail
from signalstack.store import events, jobs

if TYPE_CHECKING:
    from collections.abc import Generator
    from uuid import UUID

    from signalstack.core.job import Job
    from signalstack.store.pool import Pool


@contextmanager
def made_before() -> Generator[None]:
    """Look up what an earlier request made, so that a repeat of it is answered with that.

    Raises:
        ConflictError: it was deleted since. Made again, it would run twice.
    """
    try:
        yield
    except NotFoundError as error:
        raise ConflictError(
            f"this was accepted before, and what it made was deleted: {error}"
        ) from None


async def get_job(pool: Pool, user_id: UUID, job_id: UUID) -> Job:
    """Find a job of the tenant's, live or finished.

    Raises:
        NotFoundError: there is none, or it was hidden.
    """
    async with pool.connection(user_id) as conn:
        job = await jobs.get(conn, user_id=user_id, job_id=job_id)
    if job is None:
        raise NotFoundError(f"there is no job {job_id}")
    return job


async def get_event(pool: Pool, user_id: UUID, event_id: UUID) -> EventDetail:
    """Find an event of the tenant's with where its jobs stand now.

    Raises:
        NotFoundError: there is none.
    """
    async with pool.connection(user_id) as conn:
        event = await events.get(conn, user_id=user_id, event_id=event_id)
        if event is None:
            raise NotFoundError(f"there is no event {event_id}")
        became = await jobs.for_event(conn, user_id=user_id, ids=event.job_ids)
    told = {name: getattr(event, name) for name in Event.__struct_fields__}
    return EventDetail(**told, jobs=became)
