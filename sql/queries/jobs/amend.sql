-- Change a job that no handler has seen. Guarded by attempt and lease: a claim that comes first
-- wins, and nothing is touched. What is null stays, except that `timed` says whether run_at is
-- given; a time that has passed, or none, means now.
WITH due AS (
    SELECT greatest(coalesce(%(run_at)s::timestamptz, now()), now()) AS at
),

changed AS (
    UPDATE signalstack.jobs AS j
    SET
        run_at = CASE WHEN %(timed)s::boolean THEN due.at ELSE j.run_at END,
        delayed = CASE WHEN %(timed)s THEN due.at > now() ELSE j.delayed END,
        wake = CASE
            WHEN NOT %(timed)s THEN j.wake
            WHEN due.at > now() THEN 'timer'
        END,
        priority = coalesce(%(priority)s::smallint, j.priority),
        payload = coalesce(%(payload)s::jsonb, j.payload),
        max_attempts = coalesce(%(max_attempts)s::integer, j.max_attempts),
        updated_at = now()
    FROM due
    WHERE
        j.user_id = %(user_id)s::uuid
        AND j.id = %(id)s::uuid
        AND j.attempt = 0
        AND j.lease_token IS NULL
    RETURNING
        j.id, j.type, j.queue, j.delayed, j.priority, j.payload, j.run_at, j.attempt,
        j.max_attempts, j.timeout_s, j.idempotency_key, j.event_id, j.last_error, j.created_at,
        j.started_at, j.updated_at, j.watch
),

told AS (
    SELECT pg_notify(
        CASE WHEN c.delayed THEN 'signalstack_later' ELSE 'signalstack_again' END, c.queue
    )
    FROM changed AS c
    -- Also when its time stays: a claim just now has passed over the row that was being changed.
    UNION ALL
    SELECT pg_notify('signalstack_changed', c.id::text)
    FROM changed AS c
    WHERE %(timed)s AND c.watch > 1
)

SELECT
    changed.id,
    changed.type,
    changed.queue,
    CASE
        WHEN changed.delayed AND changed.run_at > now() THEN 'scheduled'
        ELSE 'pending'
    END AS status,
    changed.priority,
    changed.payload,
    changed.run_at,
    changed.attempt,
    changed.max_attempts,
    changed.timeout_s,
    changed.idempotency_key,
    changed.event_id,
    'null'::jsonb AS result,
    changed.last_error,
    changed.created_at,
    changed.started_at,
    NULL::timestamptz AS finished_at,
    changed.updated_at
FROM changed
CROSS JOIN (SELECT count(*) FROM told) AS done (bells);
