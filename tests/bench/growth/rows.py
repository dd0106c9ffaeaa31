"""Owns the rows among which jobs are measured: a backlog nobody serves, a history of days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.peers.servers import Store, backends_cpu_s
from signalstack.bench.rig import QUEUE, TENANT

if TYPE_CHECKING:
    import psycopg

# A hundred tenants, one after the other: rows that go to the end of an index take a fraction of the
# time. Each has a job every so many milliseconds up to now, with the UUIDv7 of that moment. None is
# of the queue or of the tenants that are measured, so that clearing up leaves them.
_TENANTS: Final = 100
_MADE: Final = f"""
    SELECT
        made.tenant,
        (lpad(to_hex(made.ms), 12, '0') || '70008000' || lpad(to_hex(made.n), 12, '0'))::uuid AS id,
        to_timestamp(made.ms / 1000.0) AS at
    FROM (
        SELECT md5('keeper ' || t)::uuid AS tenant, n, ended.ms - n * %(gap_ms)s::bigint AS ms
        FROM
            (SELECT (extract(EPOCH FROM now()) * 1000)::bigint AS ms) AS ended,
            generate_series(1, {_TENANTS}) AS t,
            generate_series(%(rows)s::int / {_TENANTS}, 1, -1) AS n
        ORDER BY tenant, ms
    ) AS made
"""  # noqa: S608 - constants
_BACKLOG: Final = f"""
    INSERT INTO signalstack.jobs (
        user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload
    )
    SELECT j.tenant, j.id, 'noop', 'growth-unserved', 0, false, 1, j.at, 'null'
    FROM ({_MADE}) AS j
"""  # noqa: S608 - constants
_HISTORY: Final = f"""
    INSERT INTO signalstack.finished_jobs (
        user_id, id, type, queue, priority, status, attempt, max_attempts, run_at, created_at,
        updated_at, started_at, finished_at, payload
    )
    SELECT
        j.tenant, j.id, 'noop', 'growth-unserved', 0, 'succeeded', 1, 1, j.at, j.at,
        j.at, j.at, j.at, 'null'
    FROM ({_MADE}) AS j
"""  # noqa: S608 - constants
_HISTORY_MS: Final = 5 * 86_400_000
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

    async def clear(self) -> None:
        await self._conn.execute(_CLEAR, (QUEUE,))
        if self._history:
            await self._conn.execute(_CLEAR_FINISHED, (TENANT,))
        else:
            await self._conn.execute(_EMPTY_FINISHED)
        await self._conn.execute(_EMPTY)
        for statement in _VACUUM:
            await self._conn.execute(statement)

    async def cpu_s(self) -> float:
        return await backends_cpu_s(self._conn)

    async def grow(self, rows: int) -> None:
        """Have so many jobs wait that nobody serves; there may be some already."""
        await self._insert(_BACKLOG, rows - self._backlog, gap_ms=1)
        self._backlog = rows

    async def remember(self, rows: int) -> None:
        """Have a history of so many jobs; there may be some already."""
        if not self._history:
            await self._conn.execute(_PARTITIONS)
        more = rows - self._history
        if more:
            await self._insert(_HISTORY, more, gap_ms=_HISTORY_MS * _TENANTS // more)
        self._history = rows

    async def empty(self) -> None:
        """Forget all jobs there are and were."""
        await self._conn.execute(_EMPTY_ALL)
        self._backlog = self._history = 0
        await self.clear()
        await self._conn.execute(b"CHECKPOINT")

    async def _insert(self, statement: str, rows: int, *, gap_ms: int) -> None:
        if rows:
            parameters = {"rows": rows, "gap_ms": gap_ms}
            await self._conn.execute(statement.encode(), parameters)
            await self._conn.execute(_VACUUM_ALL)
            # Gigabytes that are still to be written would stall the commits that are measured next.
            await self._conn.execute(b"CHECKPOINT")
