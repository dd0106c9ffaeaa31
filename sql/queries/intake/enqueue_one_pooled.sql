-- What enqueue_one.sql does, behind a pooler, where nothing can be prepared: planning each time how
-- an invitation is taken would cost 0.3 ms, and take_invitation keeps its plan. Its words are these
-- too, from `job` on to the letter, which a test compares.
WITH host AS MATERIALIZED (
    SELECT i.worker_id, i.token, i.channel
    FROM signalstack.take_invitation($4::text, $1::uuid) AS i
    WHERE $13::boolean
),

job AS (
    INSERT INTO signalstack.jobs (
        user_id, id, type, queue, priority, delayed, max_attempts, timeout_s, run_at, wake,
        traceparent, payload, watch, attempt, worker_id, lease_token, started_at
    )
    SELECT
        $1::uuid,
        $2::uuid,
        $3::text,
        $4::text,
        $5::smallint,
        due.at > now(),
        $8::integer,
        $9::double precision,
        due.at,
        CASE WHEN due.at > now() THEN 'timer' WHEN host.token IS NOT NULL THEN 'notify' END,
        $10::text,
        $11::jsonb,
        $12::smallint,
        CASE WHEN host.token IS NOT NULL THEN 1 ELSE 0 END,
        host.worker_id,
        host.token,
        CASE WHEN host.token IS NOT NULL THEN clock_timestamp() END
    FROM (
        SELECT greatest(
            coalesce(
                $6::timestamptz, now() + $7::double precision * interval '1 second', now()
            ),
            now()
        ) AS at
    ) AS due
    LEFT JOIN host ON true
    RETURNING
        user_id, id, type, queue, delayed, max_attempts, timeout_s, run_at, traceparent, payload
),

counted AS (
    INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_created)
    SELECT job.user_id, date_bin('1 hour', now(), '2000-01-01 00:00:00+00'), 1
    FROM job
)

SELECT
    now() AS at,
    CASE
        WHEN host.channel IS NOT NULL THEN signalstack.hand_over(
            host.channel, host.token, job.user_id, job.id, job.type, job.queue, job.max_attempts,
            job.timeout_s, job.run_at, job.traceparent, job.payload
        )
        ELSE pg_notify(
            CASE WHEN job.delayed THEN 'signalstack_later' ELSE 'signalstack_ready' END, job.queue
        )
    END::text AS rung,
    CASE WHEN $14::boolean THEN set_config('synchronous_commit', 'off', true) END AS hurried
FROM job
LEFT JOIN host ON true
