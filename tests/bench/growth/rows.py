"""Owns the rows among which jobs are measured: a backlog nobody serves, a history of days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.peers.servers import Store
from signalstack.bench.rig import QUEUE, TENANT

if TYPE_CHECKING:
    import psycopg

# A hundred tenants, ids as they would have come: one a millisecond for the backlog, as many a
# second as there must have been for a history of five days. Rows of the queue that is measured
# are never among them, so that clearing up finds those by that queue or by their tenant.
_ID: Final = """
    (left(signalstack.uuid_floor(made.at)::text, 14) || '7' || right(gen_random_uuid()::text, 21))
    ::uuid
"""
_TENANT: Final = "md5('keeper ' || made.n %% 100)::uuid"
_BACKLOG: Final = f"""
    INSERT INTO signalstack.jobs (
        user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload
    )
    SELECT {_TENANT}, {_ID}, 'noop', 'growth-unserved', 0, false, 1, made.at, 'null'
    FROM (
        SELECT n, now() - n * interval '1 millisecond' AS at
        FROM generate_series(%(until)s::int, %(since)s::int + 1, -1) AS n
    ) AS made
"""  # noqa: S608 - constants
_HISTORY: Final = f"""
    INSERT INTO signalstack.finished_jobs (
        user_id, id, type, queue, priority, status, attempt, max_attempts, run_at, created_at,
        updated_at, started_at, finished_at, payload
    )
    SELECT
        {_TENANT}, {_ID}, 'noop', 'growth-unserved', 0, 'succeeded', 1, 1, made.at, made.at,
        made.at, made.at, made.at, 'null'
    FROM (
        SELECT n, now() - (%(until)s::int - n) * interval '5 days' / (%(until)s - %(since)s) AS at
        FROM generate_series(%(since)s::int + 1, %(until)s::int) AS n
    ) AS made
"""  # noqa: S608 - constants
_PARTITIONS: Final = b"""
    SELECT signalstack.make_partition('finished_jobs', (now() AT TIME ZONE 'UTC')::date - back)
    FROM generate_series(0, 5) AS back
"""
_LEFT: Final = b"SELECT count(*) FROM signalstack.jobs WHERE queue = %s AND NOT delayed"
_CLEAR: Final = b"DELETE FROM signalstack.jobs WHERE queue = %s AND NOT delayed"
_CLEAR_FINISHED: Final = b"""
    DELETE FROM signalstack.finished_jobs AS f
    USING signalstack.users AS u
    WHERE f.user_id = u.id AND u.name = %s
"""
_EMPTY_FINISHED: Final = b"TRUNCATE signalstack.finished_jobs"
_EMPTY: Final = (
    b"TRUNCATE signalstack.attempts, signalstack.metrics_delta, signalstack.metrics_hourly"
)
_EMPTY_ALL: Final = b"TRUNCATE signalstack.jobs, signalstack.finished_jobs"
# What autovacuum would do some time in the middle of the next measurement.
_VACUUM: Final = (
    b"VACUUM (ANALYZE) signalstack.jobs, signalstack.metrics_delta",
    b"VACUUM signalstack.finished_jobs",
)
_VACUUM_ALL: Final = b"VACUUM (ANALYZE) signalstack.jobs, signalstack.finished_jobs"


class GrownStore(Store):
    """The database of the bench, in which what was grown stays when jobs are cleared away."""

    def __init__(self, conn: psycopg.AsyncConnection) -> None:
        self._conn = conn
        self._backlog = 0
        self._history = 0

    async def left(self) -> int:
        cursor = await self._conn.execute(_LEFT, (QUEUE,))
        row = await cursor.fetchone()
        return row[0] if row else 0

    async def clear(self, *, grown: bool = False) -> None:
        assert not grown, "there is one kind of clearing here"
        await self._conn.execute(_CLEAR, (QUEUE,))
        if self._history:
            await self._conn.execute(_CLEAR_FINISHED, (TENANT,))
        else:
            await self._conn.execute(_EMPTY_FINISHED)
        await self._conn.execute(_EMPTY)
        for statement in _VACUUM:
            await self._conn.execute(statement)

    async def grow(self, rows: int) -> None:
        """Have so many jobs wait that nobody serves; there may be some already."""
        await self._insert(_BACKLOG, self._backlog, rows)
        self._backlog = rows

    async def remember(self, rows: int) -> None:
        """Have a history of so many jobs; there may be some already."""
        if not self._history:
            await self._conn.execute(_PARTITIONS)
        await self._insert(_HISTORY, self._history, rows)
        self._history = rows

    async def empty(self) -> None:
        """Forget all jobs there are and were."""
        await self._conn.execute(_EMPTY_ALL)
        self._backlog = self._history = 0
        await self.clear()

    async def _insert(self, statement: str, since: int, until: int) -> None:
        if until > since:
            await self._conn.execute(statement.encode(), {"since": since, "until": until})
            await self._conn.execute(_VACUUM_ALL)
