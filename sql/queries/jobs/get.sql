-- Live and finished in one snapshot, so a job on its way from one to the other is seen once.
SELECT
    id,
    type,
    queue,
    CASE
        WHEN lease_token IS NOT NULL THEN 'running'
        WHEN delayed AND run_at > now() THEN 'scheduled'
        ELSE 'pending'
    END AS status,
    priority,
    payload,
    run_at,
    attempt,
    max_attempts,
    timeout_s,
    idempotency_key,
    event_id,
    'null'::jsonb AS result,
    last_error,
    created_at,
    started_at,
    NULL::timestamptz AS finished_at,
    updated_at
FROM signalstack.jobs
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid
UNION ALL
SELECT
    id,
    type,
    queue,
    status,
    priority,
    payload,
    run_at,
    attempt,
    max_attempts,
    timeout_s,
    idempotency_key,
    event_id,
    coalesce(result, 'null') AS result,
    last_error,
    created_at,
    started_at,
    finished_at,
    updated_at
FROM signalstack.finished_jobs
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid AND hidden_at IS NULL
LIMIT 1;
