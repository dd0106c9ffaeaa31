-- Give back what was leased by claims (known by their tokens, $1) whose answer got lost on its way:
-- nobody runs these jobs, and while the worker that asked lives, nobody would rescue them. Their
-- runs never began and leave no trace. Those that somebody cancelled meanwhile end here, as jobs
-- that wait do (jobs/cancel_waiting): nobody else would look at the flag before they run. It reads
-- live jobs from end to end: only after such a loss. They are found without an order and locked in
-- it, as in maintenance/rescue.sql: with both in one, each row is looked up by the primary key.
WITH held AS MATERIALIZED (
    SELECT j.user_id, j.id
    FROM signalstack.jobs AS j
    WHERE j.lease_token = ANY($1::bigint[])
),

unknown AS MATERIALIZED (
    SELECT j.user_id, j.id, j.queue, j.limited, j.cancel_requested
    FROM held
    INNER JOIN signalstack.jobs AS j ON held.user_id = j.user_id AND held.id = j.id
    WHERE j.lease_token = ANY($1::bigint[])
    ORDER BY j.user_id, j.id
    FOR UPDATE OF j
),

back AS (
    UPDATE signalstack.jobs AS j
    SET
        attempt = j.attempt - 1,
        wake = NULL,
        lease_token = NULL,
        worker_id = NULL,
        started_at = NULL,
        limited = false,
        updated_at = clock_timestamp()
    FROM unknown
    WHERE
        j.user_id = unknown.user_id AND j.id = unknown.id AND NOT unknown.cancel_requested
    RETURNING j.id, j.queue, j.watch
),

gone AS (
    DELETE FROM signalstack.jobs AS j
    USING unknown
    WHERE j.user_id = unknown.user_id AND j.id = unknown.id AND unknown.cancel_requested
    RETURNING j.*
),

kept AS (
    INSERT INTO signalstack.finished_jobs (
        user_id, id, type, queue, priority, status, attempt, max_attempts, timeout_s,
        run_at, created_at, updated_at, finished_at, event_id, idempotency_key, traceparent,
        last_error, payload
    )
    SELECT
        gone.user_id,
        gone.id,
        gone.type,
        gone.queue,
        gone.priority,
        'cancelled',
        gone.attempt - 1,
        gone.max_attempts,
        gone.timeout_s,
        gone.run_at,
        gone.created_at,
        now(),
        now(),
        gone.event_id,
        gone.idempotency_key,
        gone.traceparent,
        gone.last_error,
        gone.payload
    FROM gone
),

over AS (
    SELECT gone.queue, gone.type, 'cancelled' AS outcome, count(*) AS count
    FROM gone
    GROUP BY gone.queue, gone.type
),

counted AS (
    INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_cancelled)
    SELECT gone.user_id, date_trunc('hour', now(), 'UTC'), count(*)
    FROM gone
    GROUP BY gone.user_id
),

rung AS (
    SELECT pg_notify('signalstack_changed', gone.id::text) FROM gone WHERE gone.watch > 0
    UNION ALL
    SELECT pg_notify('signalstack_changed', back.id::text) FROM back WHERE back.watch > 1
    UNION ALL
    SELECT pg_notify('signalstack_again', bell.queue)
    FROM (SELECT DISTINCT back.queue FROM back) AS bell
    UNION ALL
    SELECT signalstack.free_slots(array_agg(unknown.user_id), array_agg(unknown.queue))
    FROM unknown
    WHERE unknown.limited
    HAVING count(*) > 0
)

SELECT
    (SELECT count(*) FROM back) AS given_back,
    (SELECT coalesce(jsonb_agg(to_jsonb(over)), '[]')::text FROM over) AS closed,
    (SELECT count(*) FROM rung) AS bells
