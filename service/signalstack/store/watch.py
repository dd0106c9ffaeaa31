"""Watching jobs: asking for announcements, and reading what they would have said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.errors import UnavailableError
from signalstack.core.history import PastRun
from signalstack.core.ids import read_uuid
from signalstack.core.job import Job, Status
from signalstack.store import binary
from signalstack.store.link import Call, Link, Statement, StatementError
from signalstack.store.query import Query, fetch_all, fetch_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from psycopg.pq.abc import PGresult

    from signalstack.core.job import Watch
    from signalstack.store.query import Connection

    Value = TypeVar("Value")

_OUTCOME: Final = Statement("watch/outcome")
STATEMENTS: Final = (_OUTCOME,)
_ASK: Final = Query("watch/ask", int)
_ENDED: Final = Query("watch/ended", set[UUID])
_PAST_RUNS: Final = Query("watch/past_runs", PastRun)


async def ask(conn: Connection, *, user_id: UUID, job_id: UUID, watch: Watch) -> None:
    """Have a job's changes announced from now on, if it is live."""
    await fetch_value(conn, _ASK, user_id=user_id, job_id=job_id, watch=watch.value)


async def outcome(link: Link, user_id: UUID, job_id: UUID) -> Job | None:
    """Return a job that has ended, on a link that has STATEMENTS; None while it has not.

    It is on the way of an answer that somebody waits for: a pooled connection costs a millisecond.

    Raises:
        UnavailableError: PostgreSQL is away, or cannot tell now.
    """
    try:
        (result,) = await link.run(Call(_OUTCOME, (user_id.bytes, job_id.bytes)))
    except StatementError as error:
        raise UnavailableError(f"PostgreSQL cannot tell this now: {error}") from error
    return _read(result) if result.ntuples else None


async def ended(
    conn: Connection, *, user_ids: Sequence[UUID], job_ids: Sequence[UUID]
) -> set[UUID]:
    """Tell which of these jobs are over."""
    found = await fetch_value(conn, _ENDED, user_ids=list(user_ids), job_ids=list(job_ids))
    return found or set()


async def past_runs(conn: Connection, *, user_id: UUID, job_id: UUID) -> list[PastRun]:
    """List the runs of a job before its last one, in order."""
    return await fetch_all(conn, _PAST_RUNS, user_id=user_id, job_id=job_id)


def _read(result: PGresult) -> Job:
    def take(column: int, read: Callable[[bytes], Value]) -> Value:
        return read(result.get_value(0, column) or b"")

    def perhaps(column: int, read: Callable[[bytes], Value]) -> Value | None:
        data = result.get_value(0, column)
        return None if data is None else read(data)

    return Job(
        id=take(0, read_uuid),
        type=take(1, bytes.decode),
        queue=take(2, bytes.decode),
        status=Status(take(3, bytes.decode)),
        priority=take(4, binary.read_int4),
        payload=take(5, msgspec.Raw),
        run_at=take(6, binary.read_timestamptz),
        attempt=take(7, binary.read_int4),
        max_attempts=take(8, binary.read_int4),
        timeout_s=perhaps(9, binary.read_float8),
        idempotency_key=perhaps(10, bytes.decode),
        event_id=perhaps(11, read_uuid),
        result=take(12, msgspec.Raw),
        last_error=perhaps(13, bytes.decode),
        created_at=take(14, binary.read_timestamptz),
        started_at=perhaps(15, binary.read_timestamptz),
        finished_at=perhaps(16, binary.read_timestamptz),
        updated_at=take(17, binary.read_timestamptz),
    )
