-- A page of jobs of one type: as jobs/list, but finished ones by the index on their type. Each of
-- the two has an edge of its own; a page ends at the first. The type is bounded from both sides
-- rather than compared: an order by id alone would let the planner read the primary key instead,
-- and through all the tenant's other jobs, where it takes a rare type for a common one.
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
    (
        SELECT
            live.id,
            live.type,
            live.queue,
            live.status,
            live.priority,
            live.payload,
            live.run_at,
            live.attempt,
            live.max_attempts,
            live.timeout_s,
            live.idempotency_key,
            live.event_id,
            live.result,
            live.last_error,
            live.created_at,
            live.started_at,
            live.finished_at,
            live.updated_at,
            live.fits,
            live.edge
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
                    job.type = %(type)s::text
                    AND (%(status)s::text IS NULL OR job.status = %(status)s)
                    AND (%(queue)s::text IS NULL OR job.queue = %(queue)s)
                    AND job.created_at >= coalesce(%(created_after)s::timestamptz, '-infinity')
                    AND job.created_at < coalesce(%(created_before)s::timestamptz, 'infinity')
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
                    j.updated_at
                FROM signalstack.jobs AS j
                WHERE
                    %(live)s::boolean
                    AND j.user_id = %(user_id)s::uuid
                    AND j.id >= %(floor)s::uuid
                    AND j.id < %(below)s::uuid
            ) AS job
            ORDER BY job.id DESC
            LIMIT 5000
        ) AS live
        WHERE live.fits OR live.edge
        ORDER BY live.id DESC
        LIMIT %(limit)s::integer
    )
    UNION ALL
    (
        SELECT
            done.id,
            done.type,
            done.queue,
            done.status,
            done.priority,
            done.payload,
            done.run_at,
            done.attempt,
            done.max_attempts,
            done.timeout_s,
            done.idempotency_key,
            done.event_id,
            done.result,
            done.last_error,
            done.created_at,
            done.started_at,
            done.finished_at,
            done.updated_at,
            done.fits,
            done.edge
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
                    (%(status)s::text IS NULL OR f.status = %(status)s)
                    AND (%(queue)s::text IS NULL OR f.queue = %(queue)s)
                    AND f.created_at >= coalesce(%(created_after)s::timestamptz, '-infinity')
                    AND f.created_at < coalesce(%(created_before)s::timestamptz, 'infinity')
                    AND f.hidden_at IS NULL
                ) AS fits,
                row_number() OVER (ORDER BY f.type DESC, f.id DESC) = 5000 AS edge
            FROM signalstack.finished_jobs AS f
            WHERE
                f.user_id = %(user_id)s::uuid
                AND (f.type, f.id) >= (%(type)s::text, %(floor)s::uuid)
                AND (f.type, f.id) <= (%(type)s::text, %(below)s::uuid)
                -- These leave partitions out, and the row that stands at `below`.
                AND f.id >= %(floor)s::uuid
                AND f.id < %(below)s::uuid
            ORDER BY f.type DESC, f.id DESC
            LIMIT 5000
        ) AS done
        WHERE done.fits OR done.edge
        ORDER BY done.type DESC, done.id DESC
        LIMIT %(limit)s::integer
    )
) AS seen
ORDER BY seen.id DESC
LIMIT %(limit)s::integer;
