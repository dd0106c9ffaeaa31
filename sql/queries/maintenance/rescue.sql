-- Take back the runs of workers whose lease ended. Live jobs are read from end to end (there is no
-- index on leases: it would make every claim touch it), so only when some worker is dead, or, with
-- `orphans`, to look for leases of workers that do not exist at all. At most `limit` runs come back
-- at once, so that nobody waits long for their rows; dead workers are buried with the first of
-- them, lest they come to life in between: what is left has no worker any more, so it is orphans'.
-- They are found without an order and locked in it: with both in one, the planner reads the primary
-- key from one end to the other and holds the first locks meanwhile. Guarded by the lease as it was
-- found: what lost it while its row was waited for is passed over.
WITH dead AS MATERIALIZED (
    SELECT w.id
    FROM signalstack.workers AS w
    WHERE
        w.lease_until < clock_timestamp()
        -- After a restart of PostgreSQL the living get time to say so.
        AND pg_postmaster_start_time() < clock_timestamp() - interval '3 seconds'
    ORDER BY w.id
    FOR UPDATE SKIP LOCKED
),

held AS MATERIALIZED (
    SELECT j.user_id, j.id, j.attempt, j.lease_token, j.worker_id
    FROM signalstack.jobs AS j
    WHERE
        (%(orphans)s OR EXISTS (SELECT FROM dead))
        AND j.lease_token IS NOT NULL
        AND (
            j.worker_id IN (SELECT dead.id FROM dead)
            OR (
                %(orphans)s
                AND NOT EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = j.worker_id)
            )
        )
    LIMIT %(limit)s
),

lost AS MATERIALIZED (
    SELECT
        j.user_id, j.id, j.queue, j.attempt, j.started_at, j.wake, j.worker_id, j.limited,
        j.attempt < j.max_attempts AND NOT j.cancel_requested AS again
    FROM held
    INNER JOIN signalstack.jobs AS j ON held.user_id = j.user_id AND held.id = j.id
    WHERE
        j.attempt = held.attempt
        AND j.lease_token = held.lease_token
        AND j.worker_id IS NOT DISTINCT FROM held.worker_id
    ORDER BY j.user_id, j.id
    FOR UPDATE OF j
),

back AS (
    UPDATE signalstack.jobs AS j
    SET
        wake = 'rescue',
        lease_token = NULL,
        worker_id = NULL,
        started_at = NULL,
        limited = false,
        last_error = %(error)s,
        updated_at = clock_timestamp()
    FROM lost
    WHERE j.user_id = lost.user_id AND j.id = lost.id AND lost.again
    RETURNING j.user_id, j.id, j.queue, j.watch
),

kept AS (
    INSERT INTO signalstack.attempts (
        user_id, job_id, attempt, outcome, worker_id, wake, started_at, finished_at, error
    )
    SELECT
        lost.user_id,
        lost.id,
        lost.attempt,
        'lost',
        lost.worker_id,
        lost.wake,
        lost.started_at,
        clock_timestamp(),
        %(error)s
    FROM lost
    WHERE lost.again
    ON CONFLICT (user_id, job_id, attempt) DO NOTHING
),

gone AS (
    DELETE FROM signalstack.jobs AS j
    USING lost
    WHERE j.user_id = lost.user_id AND j.id = lost.id AND NOT lost.again
    RETURNING j.*
),

failed AS (
    INSERT INTO signalstack.finished_jobs (
        user_id, id, type, queue, priority, status, attempt, max_attempts,
        timeout_s, run_at, created_at, updated_at, started_at, finished_at, worker_id, wake,
        event_id, idempotency_key, traceparent, last_error, payload
    )
    SELECT
        gone.user_id,
        gone.id,
        gone.type,
        gone.queue,
        gone.priority,
        CASE WHEN gone.cancel_requested THEN 'cancelled' ELSE 'failed' END,
        gone.attempt,
        gone.max_attempts,
        gone.timeout_s,
        gone.run_at,
        gone.created_at,
        now(),
        gone.started_at,
        now(),
        gone.worker_id,
        gone.wake,
        gone.event_id,
        gone.idempotency_key,
        gone.traceparent,
        %(error)s,
        gone.payload
    FROM gone
),

over AS (
    SELECT
        gone.queue,
        gone.type,
        CASE WHEN gone.cancel_requested THEN 'cancelled' ELSE 'failed' END AS outcome,
        count(*) AS count
    FROM gone
    GROUP BY gone.queue, gone.type, gone.cancel_requested
),

counted AS (
    INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_failed, jobs_cancelled)
    SELECT
        gone.user_id,
        date_trunc('hour', now(), 'UTC'),
        count(*) FILTER (WHERE NOT gone.cancel_requested),
        count(*) FILTER (WHERE gone.cancel_requested)
    FROM gone
    GROUP BY gone.user_id
),

buried AS (
    DELETE FROM signalstack.workers AS w
    USING dead
    WHERE w.id = dead.id
),

-- What is handed to a dead worker in this very moment is an orphan, found a little later.
uninvited AS (
    DELETE FROM signalstack.invitations AS i
    WHERE
        i.worker_id IN (SELECT dead.id FROM dead)
        OR (
            %(orphans)s
            AND NOT EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = i.worker_id)
        )
),

told AS (
    SELECT pg_notify('signalstack_changed', gone.id::text) FROM gone WHERE gone.watch > 0
    UNION ALL
    SELECT pg_notify('signalstack_changed', back.id::text) FROM back WHERE back.watch > 1
    UNION ALL
    SELECT pg_notify('signalstack_again', bell.queue)
    FROM (SELECT DISTINCT back.queue FROM back) AS bell
    UNION ALL
    SELECT signalstack.free_slots(array_agg(lost.user_id), array_agg(lost.queue))
    FROM lost
    WHERE lost.limited
    HAVING count(*) > 0
)

SELECT
    (SELECT count(*) FROM dead) AS workers,
    (SELECT count(*) FROM back) AS rescued,
    (SELECT count(*) FROM gone) AS failed,
    (SELECT count(*) FROM told) AS bells,
    (SELECT count(*) FROM held) = %(limit)s AS more,
    (SELECT coalesce(jsonb_agg(to_jsonb(over)), '[]') FROM over) AS closed
