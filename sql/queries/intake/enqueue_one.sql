-- Store one job without a key: what enqueue.sql does, but nothing that needs setting up for many.
-- Requests that come alone wait for this; it takes half as long.
-- With $13 the job is handed to a worker that invited, if there is one: leased to it from the
-- start. `host` takes the invitation as signalstack.take_invitation does, whose rules are these
-- too: calling that took a seventh of the time of the whole statement.
-- With $14 the commit does not wait for the disk, as behind do_not_flush.sql, but with no
-- statement more between the job and its notification.
WITH host AS (
    UPDATE signalstack.invitations AS i
    SET token = NULL
    FROM (
        SELECT
            o.ctid AS spot,
            o.worker_id,
            o.token,
            o.channel
        FROM signalstack.invitations AS o
        WHERE
            $13::boolean
            AND o.token IS NOT NULL
            AND (o.queues = '{}' OR $4::text = any(o.queues))
            AND NOT pg_try_advisory_xact_lock_shared(o.lock_key)
            AND EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = o.worker_id)
            AND NOT EXISTS (
                SELECT
                FROM signalstack.queues AS q
                WHERE
                    q.user_id IN ($1::uuid, '00000000-0000-0000-0000-000000000000')
                    AND q.name = $4::text
                    AND (q.paused OR coalesce(q.concurrency, q.rate_limit) IS NOT NULL)
            )
            AND (
                SELECT count(*) < 200 AND count(*) = count(few.lease_token)
                FROM (
                    SELECT j.lease_token
                    FROM signalstack.jobs AS j
                    WHERE
                        NOT j.delayed
                        AND j.queue = $4::text
                        AND j.user_id = $1::uuid
                        AND o.token IS NOT NULL
                    ORDER BY j.queue, j.user_id, j.priority DESC, j.id
                    LIMIT 200
                ) AS few
            )
        LIMIT 1
        FOR UPDATE OF o SKIP LOCKED
    ) AS open
    WHERE i.ctid = open.spot
    RETURNING open.worker_id, open.token, open.channel
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
