-- Store the jobs of many requests in one statement, so that concurrent callers share one commit.
-- A request with an idempotency key owns it when `ref` comes back as its own; its jobs name that
-- ref as their guard, so a repeat inserts nothing. NOTIFY is a doorbell: one a queue, not a job.
-- With $20 there is one job, which is handed to a worker that invited, if there is one: leased to
-- it from the start. A repeat takes none. That is behind a pooler: else accept_one.sql stores it.
WITH key AS (
    INSERT INTO signalstack.idempotency AS i (user_id, route, key, fingerprint, ref, expires_at)
    SELECT k.user_id, k.route, k.key, k.fingerprint, k.ref, now() + interval '24 hours'
    FROM unnest($15::uuid[], $16::text[], $17::text[], $18::bytea[], $19::uuid[])
        AS k (user_id, route, key, fingerprint, ref)
    ORDER BY k.user_id, k.route, k.key
    ON CONFLICT (user_id, route, key) DO UPDATE SET
        fingerprint = CASE
            WHEN i.expires_at > now() THEN i.fingerprint ELSE excluded.fingerprint
        END,
        ref = CASE WHEN i.expires_at > now() THEN i.ref ELSE excluded.ref END,
        expires_at = CASE WHEN i.expires_at > now() THEN i.expires_at ELSE excluded.expires_at END
    RETURNING i.user_id, i.route, i.key, i.fingerprint, i.ref
),

host AS MATERIALIZED (
    SELECT i.worker_id, i.token, i.channel
    FROM signalstack.take_invitation(($4::text[])[1], ($1::uuid[])[1]) AS i
    WHERE
        $20::boolean
        AND (($13::uuid[])[1] IS NULL OR ($13::uuid[])[1] IN (SELECT key.ref FROM key))
),

job AS (
    INSERT INTO signalstack.jobs (
        user_id, id, type, queue, priority, delayed, max_attempts, timeout_s, run_at,
        wake, idempotency_key, traceparent, payload, watch, attempt, worker_id, lease_token,
        started_at
    )
    SELECT
        n.user_id,
        n.id,
        n.type,
        n.queue,
        n.priority,
        due.at > now(),
        n.max_attempts,
        n.timeout_s,
        due.at,
        CASE WHEN due.at > now() THEN 'timer' WHEN host.token IS NOT NULL THEN 'notify' END,
        n.idempotency_key,
        n.traceparent,
        n.payload,
        n.watch,
        CASE WHEN host.token IS NOT NULL THEN 1 ELSE 0 END,
        host.worker_id,
        host.token,
        CASE WHEN host.token IS NOT NULL THEN clock_timestamp() END
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::smallint[], $6::timestamptz[],
        $7::double precision[], $8::integer[], $9::double precision[], $10::text[], $11::text[],
        $12::jsonb[], $13::uuid[], $14::smallint[]
    ) AS n (
        user_id, id, type, queue, priority, run_at,
        delay_s, max_attempts, timeout_s, idempotency_key, traceparent,
        payload, guard, watch
    )
    CROSS JOIN LATERAL (
        SELECT greatest(
            coalesce(n.run_at, now() + n.delay_s * interval '1 second', now()), now()
        ) AS at
    ) AS due
    LEFT JOIN host ON true
    WHERE n.guard IS NULL OR n.guard IN (SELECT key.ref FROM key)
    RETURNING
        user_id, id, type, queue, delayed, max_attempts, timeout_s, run_at, traceparent, payload
),

counted AS (
    INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_created)
    SELECT job.user_id, date_bin('1 hour', now(), '2000-01-01 00:00:00+00'), count(*)
    FROM job
    GROUP BY job.user_id
),

rung AS (
    SELECT pg_notify(
        CASE WHEN bell.delayed THEN 'signalstack_later' ELSE 'signalstack_ready' END, bell.queue
    )
    FROM (SELECT DISTINCT job.queue, job.delayed FROM job) AS bell
    WHERE NOT EXISTS (SELECT FROM host WHERE host.token IS NOT NULL)
    UNION ALL
    SELECT signalstack.hand_over(
        host.channel, host.token, job.user_id, job.id, job.type, job.queue, job.max_attempts,
        job.timeout_s, job.run_at, job.traceparent, job.payload
    )
    FROM job
    INNER JOIN host ON host.token IS NOT NULL
)

SELECT now() AS at, key.user_id, key.route, key.key, key.fingerprint, key.ref
FROM (SELECT count(*) FROM rung) AS done (bells)
LEFT JOIN key ON true
