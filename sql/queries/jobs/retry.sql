-- Put a failed or cancelled job back to run at once, in one statement: its row returns to the live
-- ones, its last run goes to the earlier ones (one that was cancelled while it waited has none),
-- and the count of its end is taken back in the hour that it was counted in. Guarded by status and
-- hidden_at: of two callers one finds it. The attempts go on; at least one more is allowed.
WITH gone AS (
    DELETE FROM signalstack.finished_jobs AS f
    WHERE
        f.user_id = %(user_id)s::uuid
        AND f.id = %(id)s::uuid
        AND f.status IN ('failed', 'cancelled')
        AND f.hidden_at IS NULL
    RETURNING
        f.user_id, f.id, f.type, f.queue, f.priority, f.status, f.attempt, f.max_attempts,
        f.timeout_s, f.created_at, f.started_at, f.finished_at, f.worker_id, f.wake, f.event_id,
        f.idempotency_key, f.traceparent, f.last_error, f.payload, f.result
),

kept AS (
    INSERT INTO signalstack.attempts (
        user_id, job_id, attempt, outcome, worker_id, wake, started_at, finished_at, error, result
    )
    SELECT
        gone.user_id,
        gone.id,
        gone.attempt,
        gone.status,
        gone.worker_id,
        gone.wake,
        gone.started_at,
        gone.finished_at,
        gone.last_error,
        gone.result
    FROM gone
    WHERE gone.started_at IS NOT NULL
    ON CONFLICT (user_id, job_id, attempt) DO NOTHING
),

counted AS (
    INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_failed, jobs_cancelled)
    SELECT
        gone.user_id,
        date_trunc('hour', gone.finished_at, 'UTC'),
        CASE WHEN gone.status = 'failed' THEN -1 ELSE 0 END,
        CASE WHEN gone.status = 'cancelled' THEN -1 ELSE 0 END
    FROM gone
),

back AS (
    INSERT INTO signalstack.jobs AS j (
        user_id, id, type, queue, priority, delayed, attempt, max_attempts, timeout_s,
        run_at, created_at, event_id, idempotency_key, traceparent, last_error, payload
    )
    SELECT
        gone.user_id,
        gone.id,
        gone.type,
        gone.queue,
        gone.priority,
        false,
        gone.attempt,
        greatest(gone.max_attempts, gone.attempt + 1),
        gone.timeout_s,
        now(),
        gone.created_at,
        gone.event_id,
        gone.idempotency_key,
        gone.traceparent,
        gone.last_error,
        gone.payload
    FROM gone
    RETURNING
        j.id, j.type, j.queue, j.priority, j.payload, j.run_at, j.attempt, j.max_attempts,
        j.timeout_s, j.idempotency_key, j.event_id, j.last_error, j.created_at, j.started_at,
        j.updated_at
),

rung AS (
    SELECT pg_notify('signalstack_again', back.queue) FROM back
)

SELECT
    back.id,
    back.type,
    back.queue,
    'pending' AS status,
    back.priority,
    back.payload,
    back.run_at,
    back.attempt,
    back.max_attempts,
    back.timeout_s,
    back.idempotency_key,
    back.event_id,
    'null'::jsonb AS result,
    back.last_error,
    back.created_at,
    back.started_at,
    NULL::timestamptz AS finished_at,
    back.updated_at
FROM back
CROSS JOIN (SELECT count(*) FROM rung) AS done (bells);
