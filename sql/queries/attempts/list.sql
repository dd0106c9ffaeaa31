-- All runs of a job in one snapshot: the earlier ones, then the one that goes on, or the last one,
-- which stands in the job's own row. A finished job without a start was cancelled while it waited.
SELECT
    attempt,
    worker_id AS worker,
    wake,
    started_at,
    finished_at,
    outcome,
    error,
    coalesce(result, 'null') AS result
FROM signalstack.attempts
WHERE user_id = %(user_id)s::uuid AND job_id = %(job_id)s::uuid
UNION ALL
SELECT
    attempt,
    worker_id AS worker,
    wake,
    started_at,
    NULL::timestamptz AS finished_at,
    NULL::text AS outcome,
    NULL::text AS error,
    'null'::jsonb AS result
FROM signalstack.jobs
WHERE user_id = %(user_id)s::uuid AND id = %(job_id)s::uuid AND lease_token IS NOT NULL
UNION ALL
SELECT
    attempt,
    worker_id AS worker,
    wake,
    started_at,
    finished_at,
    status AS outcome,
    last_error AS error,
    coalesce(result, 'null') AS result
FROM signalstack.finished_jobs
WHERE user_id = %(user_id)s::uuid AND id = %(job_id)s::uuid AND started_at IS NOT NULL
ORDER BY attempt;
