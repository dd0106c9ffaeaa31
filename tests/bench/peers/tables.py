"""What the harness itself asks of the tables of each peer, outside of what is timed."""

from __future__ import annotations

from typing import Final

import msgspec


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """What the harness itself asks of a peer's tables.

    `left` counts jobs that are due and not settled. `clear` empties all, `clear_due` all but what
    was grown, `grow` makes the history and the future jobs, each by so many rows as %(rows)s says.
    """

    left: str
    clear: str
    clear_due: str
    grow: tuple[str, ...] = ()


# Where ids are numbers, what is grown stays below this one: rows are told apart by the primary key.
FIRST_ID: Final = 10_000_000

SIGNALSTACK: Final = Tables(
    left="SELECT count(*) FROM signalstack.jobs WHERE NOT delayed",
    clear="""
        TRUNCATE signalstack.jobs, signalstack.finished_jobs, signalstack.attempts,
            signalstack.metrics_delta, signalstack.metrics_hourly CASCADE
    """,
    clear_due="DELETE FROM signalstack.jobs WHERE NOT delayed",
    grow=(  # its future jobs come by the acceptor: the command `future` of its adapter
        """
        INSERT INTO signalstack.finished_jobs (
            user_id, id, type, queue, priority, status, attempt, max_attempts, run_at, created_at,
            updated_at, started_at, finished_at, payload
        )
        SELECT
            u.id, (left(signalstack.uuid_floor(made.at)::text, 14) || '7'
                || right(gen_random_uuid()::text, 21))::uuid,
            'noop', 'signalstack-bench', 0, 'succeeded', 1, 1, made.at, made.at, made.at, made.at,
            made.at, 'null'
        FROM signalstack.users AS u,
            (SELECT now() - n * interval '1 millisecond' AS at
             FROM generate_series(%(rows)s::int, 1, -1) AS n) AS made
        WHERE u.name = 'signalstack bench'
        """,
    ),
)
GRAPHILE: Final = Tables(
    # It deletes a job when it is done and keeps no history: there is none to grow.
    left="SELECT count(*) FROM graphile_worker._private_jobs WHERE id >= 10000000",
    clear="TRUNCATE graphile_worker._private_jobs",
    clear_due="DELETE FROM graphile_worker._private_jobs WHERE id >= 10000000",
    grow=(
        """
        INSERT INTO graphile_worker._private_jobs (id, task_id, payload, run_at)
        OVERRIDING SYSTEM VALUE
        SELECT n, t.id, '{"slot": -1}', now() + interval '1 day'
        FROM graphile_worker._private_tasks AS t, generate_series(1, %(rows)s::int) AS n
        WHERE t.identifier = 'stamp'
        """,
    ),
)
PGBOSS: Final = Tables(
    left="""
        SELECT count(*) FROM pgboss.job
        WHERE name = 'bench' AND state IN ('created', 'retry', 'active') AND start_after <= now()
    """,
    clear="TRUNCATE pgboss.job, pgboss.archive",
    clear_due="""
        DELETE FROM pgboss.job
        WHERE name = 'bench' AND state IN ('created', 'retry', 'active') AND start_after <= now()
    """,
    grow=(
        """
        INSERT INTO pgboss.job (name, data, state, started_on, completed_on, policy)
        SELECT 'bench', '{"slot": -1}', 'completed', now(), now(), 'standard'
        FROM generate_series(1, %(rows)s::int)
        """,
        """
        INSERT INTO pgboss.job (name, data, start_after, policy)
        SELECT 'bench', '{"slot": -1}', now() + interval '1 day', 'standard'
        FROM generate_series(1, %(rows)s::int)
        """,
    ),
)
PROCRASTINATE: Final = Tables(
    left="""
        SELECT count(*) FROM procrastinate_jobs
        WHERE id >= 10000000 AND status IN ('todo', 'doing')
    """,
    clear="TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers",
    clear_due="DELETE FROM procrastinate_jobs WHERE id >= 10000000",
    grow=(
        """
        INSERT INTO procrastinate_jobs (id, queue_name, task_name, args, status, attempts)
        SELECT n, 'default', 'stamp', '{"slot": -1}', 'succeeded', 1
        FROM generate_series(1, %(rows)s::int) AS n
        """,
        """
        INSERT INTO procrastinate_jobs (id, queue_name, task_name, args, scheduled_at)
        SELECT %(rows)s::int + n, 'default', 'stamp', '{"slot": -1}', now() + interval '1 day'
        FROM generate_series(1, %(rows)s::int) AS n
        """,
    ),
)
PGQUEUER: Final = Tables(
    left="SELECT count(*) FROM pgqueuer WHERE id >= 10000000",
    clear="TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics",
    clear_due="DELETE FROM pgqueuer WHERE id >= 10000000",
    grow=(
        """
        INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, aggregated)
        SELECT n, 'successful', 0, 'stamp', true FROM generate_series(1, %(rows)s::int) AS n
        """,
        """
        INSERT INTO pgqueuer (id, priority, status, entrypoint, payload, execute_after)
        SELECT n, 0, 'queued', 'stamp', '-1', now() + interval '1 day'
        FROM generate_series(1, %(rows)s::int) AS n
        """,
    ),
)
# So that ids of jobs are above those of what is grown.
SEQUENCES: Final = {
    "graphile": "ALTER TABLE graphile_worker._private_jobs ALTER COLUMN id RESTART WITH {}",
    "procrastinate": "ALTER SEQUENCE procrastinate_jobs_id_seq RESTART WITH {}",
    "pgqueuer": "ALTER SEQUENCE pgqueuer_id_seq RESTART WITH {}",
}
