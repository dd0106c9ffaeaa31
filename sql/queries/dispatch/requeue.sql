-- Put runs back that did not end their job: a retry after a delay, or a run handed back or put off.
-- A run that never started, or was put off as if it had not (no started_at), gives its attempt back
-- and leaves no trace; one that was handed back did not fail, so another one is allowed instead.
-- A run whose job was cancelled meanwhile is not put back: it comes back as such, to be finished.
-- Guarded by the lease token, in id order, and found as in finish.sql.
WITH ended AS MATERIALIZED (
    SELECT j.user_id, j.id, j.queue, j.limited, j.cancel_requested
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS o (user_id, id, token)
    INNER JOIN signalstack.jobs AS j
        ON j.user_id = any(ARRAY[o.user_id]) AND o.id = j.id AND o.token = j.lease_token
    ORDER BY o.user_id, o.id
    FOR UPDATE OF j
),

back AS (
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
        postponed_since = CASE
            WHEN o.outcome = 'postponed' THEN coalesce(j.postponed_since, clock_timestamp())
            ELSE j.postponed_since
        END,
        last_error = coalesce(o.error, j.last_error),
        lease_token = NULL,
        worker_id = NULL,
        started_at = NULL,
        limited = false,
        updated_at = clock_timestamp()
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::timestamptz[], $6::timestamptz[],
        $7::text[], $8::double precision[], $9::text[], $10::integer[], $11::uuid[], $12::text[]
    ) AS o (
        user_id, id, token, outcome, started_at, finished_at,
        error, delay_s, wake, attempt, worker_id, run_wake
    )
    WHERE
        j.user_id = any(ARRAY[o.user_id])
        AND j.id = o.id
        AND j.lease_token = o.token
        AND j.id IN (SELECT ended.id FROM ended WHERE NOT ended.cancel_requested)
    RETURNING
        j.user_id, j.id, j.queue, j.delayed, j.watch, o.attempt, o.outcome, o.worker_id, o.run_wake,
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

told AS (
    SELECT pg_notify('signalstack_changed', back.id::text) FROM back WHERE back.watch > 1
    UNION ALL
    SELECT pg_notify('signalstack_again', bell.queue)
    FROM (SELECT DISTINCT back.queue FROM back WHERE NOT back.delayed) AS bell
    UNION ALL
    SELECT signalstack.free_slots(array_agg(ended.user_id), array_agg(ended.queue))
    FROM ended
    WHERE ended.limited AND NOT ended.cancel_requested
    HAVING count(*) > 0
)

SELECT ended.id, ended.cancel_requested
FROM ended
CROSS JOIN (SELECT count(*) FROM told) AS done (bells)
