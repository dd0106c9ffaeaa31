-- Cancel a job that waits: it moves to the finished ones as it is, in one statement. Guarded by
-- having no lease: a claim that comes first makes it a running job, and nothing is touched here. A
-- run that it had before stands in attempts already, so it leaves no start here.
WITH gone AS (
    DELETE FROM signalstack.jobs AS j
    WHERE j.user_id = %(user_id)s::uuid AND j.id = %(id)s::uuid AND j.lease_token IS NULL
    RETURNING
        j.user_id, j.id, j.type, j.queue, j.priority, j.attempt, j.max_attempts, j.timeout_s,
        j.run_at, j.created_at, j.event_id, j.idempotency_key, j.traceparent, j.last_error,
        j.payload, j.watch
),

kept AS (
    INSERT INTO signalstack.finished_jobs AS f (
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
        gone.attempt,
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
    RETURNING
        f.id, f.type, f.queue, f.status, f.priority, f.payload, f.run_at, f.attempt,
        f.max_attempts, f.timeout_s, f.idempotency_key, f.event_id, f.last_error, f.created_at,
        f.started_at, f.finished_at, f.updated_at
),

counted AS (
    INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_cancelled)
    SELECT gone.user_id, date_trunc('hour', now(), 'UTC'), 1
    FROM gone
),

told AS (
    SELECT pg_notify('signalstack_changed', gone.id::text) FROM gone WHERE gone.watch > 0
)

SELECT
    kept.id,
    kept.type,
    kept.queue,
    kept.status,
    kept.priority,
    kept.payload,
    kept.run_at,
    kept.attempt,
    kept.max_attempts,
    kept.timeout_s,
    kept.idempotency_key,
    kept.event_id,
    'null'::jsonb AS result,
    kept.last_error,
    kept.created_at,
    kept.started_at,
    kept.finished_at,
    kept.updated_at
FROM kept
CROSS JOIN (SELECT count(*) FROM told) AS done (bells);
