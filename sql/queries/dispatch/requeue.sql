-- Put runs back that did not end their job: a retry after a delay, or a run handed back.
-- A run that never started (no started_at) gives its attempt back and leaves no trace; one that was
-- handed back did not fail, so another one is allowed in its place.
-- Guarded by the lease token, in id order, as in finish.sql.
WITH back AS (
    UPDATE signalstack.jobs AS j
    SET
        delayed = o.delay_s > 0,
        run_at = CASE
            WHEN o.delay_s > 0 THEN clock_timestamp() + o.delay_s * interval '1 second'
            ELSE j.run_at
        END,
        attempt = j.attempt - CASE WHEN o.started_at IS NULL THEN 1 ELSE 0 END,
        max_attempts = j.max_attempts + CASE
            WHEN o.outcome = 'released' AND o.started_at IS NOT NULL THEN 1 ELSE 0
        END,
        wake = o.wake,
        last_error = coalesce(o.error, j.last_error),
        lease_token = NULL,
        worker_id = NULL,
        started_at = NULL,
        updated_at = clock_timestamp()
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::timestamptz[], $6::timestamptz[],
        $7::text[], $8::double precision[], $9::text[], $10::integer[], $11::uuid[], $12::text[]
    ) AS o (
        user_id, id, token, outcome, started_at, finished_at,
        error, delay_s, wake, attempt, worker_id, run_wake
    )
    WHERE j.user_id = o.user_id AND j.id = o.id AND j.lease_token = o.token
    RETURNING
        j.user_id, j.id, j.queue, j.delayed, o.attempt, o.outcome, o.worker_id, o.run_wake,
        o.started_at, o.finished_at, o.error
),

kept AS (
    INSERT INTO signalstack.attempts (
        user_id, job_id, attempt, outcome, worker_id, wake, started_at, finished_at, error
    )
    SELECT
        back.user_id,
        back.id,
        back.attempt,
        back.outcome,
        back.worker_id,
        back.run_wake,
        back.started_at,
        back.finished_at,
        back.error
    FROM back
    WHERE back.started_at IS NOT NULL
    ON CONFLICT (user_id, job_id, attempt) DO NOTHING
),

rung AS (
    SELECT pg_notify('signalstack_ready', bell.queue)
    FROM (SELECT DISTINCT back.queue FROM back WHERE NOT back.delayed) AS bell
)

SELECT back.id
FROM back
CROSS JOIN (SELECT count(*) FROM rung) AS done (bells)
