"""Table attempts, read with the job's own row: all runs of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core.job import Attempt
from signalstack.store.query import Query, fetch_all

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.store.query import Connection

_LIST: Final = Query("attempts/list", Attempt)


async def list_all(conn: Connection, *, user_id: UUID, job_id: UUID) -> list[Attempt]:
    """List the runs of one of the tenant's jobs, first to last, hidden or not."""
    return await fetch_all(conn, _LIST, user_id=user_id, job_id=job_id)
