-- A page of jobs, newest first, live and finished in one snapshot: one that moves is seen once.
-- Both are read in the order of their primary keys, merged by id, and only as far as a page needs;
-- but at most 5,000 rows, so that filters that fit little cannot read for long. The 5,000th comes
-- with `edge`, whether it fits or not: the next page goes on from there.
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
        job.id,
        job.type,
        job.queue,
        job.status,
        job.priority,
        job.payload,
        job.run_at,
        job.attempt,
        job.max_attempts,
        job.timeout_s,
        job.idempotency_key,
        job.event_id,
        job.result,
        job.last_error,
        job.created_at,
        job.started_at,
        job.finished_at,
        job.updated_at,
        (
            (%(status)s::text IS NULL OR job.status = %(status)s)
            AND (%(type)s::text IS NULL OR job.type = %(type)s)
            AND (%(queue)s::text IS NULL OR job.queue = %(queue)s)
            AND job.created_at >= coalesce(%(created_after)s::timestamptz, '-infinity')
            AND job.created_at < coalesce(%(created_before)s::timestamptz, 'infinity')
            AND job.hidden_at IS NULL
        ) AS fits,
        row_number() OVER (ORDER BY job.id DESC) = 5000 AS edge
    FROM (
        SELECT
            j.id,
            j.type,
            j.queue,
            CASE
                WHEN j.lease_token IS NOT NULL THEN 'running'
                WHEN j.delayed AND j.run_at > now() THEN 'scheduled'
                ELSE 'pending'
            END AS status,
            j.priority,
            j.payload,
            j.run_at,
            j.attempt,
            j.max_attempts,
            j.timeout_s,
            j.idempotency_key,
            j.event_id,
            'null'::jsonb AS result,
            j.last_error,
            j.created_at,
            j.started_at,
            NULL::timestamptz AS finished_at,
            j.updated_at,
            NULL::timestamptz AS hidden_at,
            j.user_id,
            true AS live
        FROM signalstack.jobs AS j
        UNION ALL
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
            f.hidden_at,
            f.user_id,
            false AS live
        FROM signalstack.finished_jobs AS f
    ) AS job
    WHERE
        job.user_id = %(user_id)s::uuid
        AND job.id >= %(floor)s::uuid
        AND job.id < %(below)s::uuid
        AND CASE WHEN job.live THEN %(live)s::boolean ELSE %(finished)s::boolean END
    ORDER BY job.id DESC
    LIMIT 5000
) AS seen
WHERE seen.fits OR seen.edge
ORDER BY seen.id DESC
LIMIT %(limit)s::integer;
