"""Watching jobs: asking for announcements, and reading what they would have said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from signalstack.core.history import PastRun
from signalstack.store.query import Query, fetch_all, fetch_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.core.job import Watch
    from signalstack.store.query import Connection

_ASK: Final = Query("watch/ask", int)
_ENDED: Final = Query("watch/ended", set[UUID])
_PAST_RUNS: Final = Query("watch/past_runs", PastRun)


async def ask(conn: Connection, *, user_id: UUID, job_id: UUID, watch: Watch) -> None:
    """Have a job's changes announced from now on, if it is live."""
    await fetch_value(conn, _ASK, user_id=user_id, job_id=job_id, watch=watch.value)


async def ended(
    conn: Connection, *, user_ids: Sequence[UUID], job_ids: Sequence[UUID]
) -> set[UUID]:
    """Tell which of these jobs are over."""
    found = await fetch_value(conn, _ENDED, user_ids=list(user_ids), job_ids=list(job_ids))
    return found or set()


async def past_runs(conn: Connection, *, user_id: UUID, job_id: UUID) -> list[PastRun]:
    """List the runs of a job before its last one, in order."""
    return await fetch_all(conn, _PAST_RUNS, user_id=user_id, job_id=job_id)
