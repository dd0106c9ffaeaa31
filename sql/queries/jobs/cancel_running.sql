-- Ask for a running job to be cancelled; its worker hears of it and records what came of it.
-- Guarded by having a lease: without one there is nobody to ask. Asking again rings again: bells
-- get lost.
WITH asked AS (
    UPDATE signalstack.jobs AS j
    SET
        cancel_requested = true,
        updated_at = CASE WHEN j.cancel_requested THEN j.updated_at ELSE clock_timestamp() END
    WHERE j.user_id = %(user_id)s::uuid AND j.id = %(id)s::uuid AND j.lease_token IS NOT NULL
    RETURNING
        j.id, j.type, j.queue, j.priority, j.payload, j.run_at, j.attempt, j.max_attempts,
        j.timeout_s, j.idempotency_key, j.event_id, j.last_error, j.created_at, j.started_at,
        j.updated_at
),

told AS (
    SELECT pg_notify('signalstack_cancel', asked.id::text) FROM asked
)

SELECT
    asked.id,
    asked.type,
    asked.queue,
    'running' AS status,
    asked.priority,
    asked.payload,
    asked.run_at,
    asked.attempt,
    asked.max_attempts,
    asked.timeout_s,
    asked.idempotency_key,
    asked.event_id,
    'null'::jsonb AS result,
    asked.last_error,
    asked.created_at,
    asked.started_at,
    NULL::timestamptz AS finished_at,
    asked.updated_at
FROM asked
CROSS JOIN (SELECT count(*) FROM told) AS done (bells);
