-- A page of failed or cancelled jobs: as jobs/list, by the partial index that has only those.
SELECT
    seen.id,
    seen.type,
    seen.queue,
    seen.status,
    seen.priority,
    seen.payload,
    seen.run_at,
    seen.attempt,
    seen.max_attempts,
    seen.timeout_s,
    seen.idempotency_key,
    seen.event_id,
    seen.result,
    seen.last_error,
    seen.created_at,
    seen.started_at,
    seen.finished_at,
    seen.updated_at,
    seen.fits,
    seen.edge
FROM (
    SELECT
        f.id,
        f.type,
        f.queue,
        f.status,
        f.priority,
        f.payload,
        f.run_at,
        f.attempt,
        f.max_attempts,
        f.timeout_s,
        f.idempotency_key,
        f.event_id,
        coalesce(f.result, 'null') AS result,
        f.last_error,
        f.created_at,
        f.started_at,
        f.finished_at,
        f.updated_at,
        (
            f.status = %(status)s::text
            AND (%(type)s::text IS NULL OR f.type = %(type)s)
            AND (%(queue)s::text IS NULL OR f.queue = %(queue)s)
            AND f.created_at >= coalesce(%(created_after)s::timestamptz, '-infinity')
            AND f.created_at < coalesce(%(created_before)s::timestamptz, 'infinity')
            AND f.hidden_at IS NULL
        ) AS fits,
        row_number() OVER (ORDER BY f.id DESC) = 5000 AS edge
    FROM signalstack.finished_jobs AS f
    WHERE
        f.status <> 'succeeded'
        AND f.user_id = %(user_id)s::uuid
        AND f.id >= %(floor)s::uuid
        AND f.id < %(below)s::uuid
    ORDER BY f.id DESC
    LIMIT 5000
) AS seen
WHERE seen.fits OR seen.edge
ORDER BY seen.id DESC
LIMIT %(limit)s::integer;
