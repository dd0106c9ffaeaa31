-- Store the one job of a request that has a key, or of an event: what enqueue.sql and accept.sql
-- do, but nothing that needs setting up for many. $16 is null where there is no key, $18 where
-- there is no event; $26 is the version of the subscriptions that the event's job was made from.
-- With $13 the job is handed over, with $14 the commit does not wait for the disk, as in
-- enqueue_one.sql.
WITH key AS (
    INSERT INTO signalstack.idempotency AS i (user_id, route, key, fingerprint, ref, expires_at)
    SELECT
        $1::uuid,
        $15::text,
        $16::text,
        $17::bytea,
        coalesce($18::uuid, $2::uuid),
        now() + interval '24 hours'
    WHERE
        $16::text IS NOT NULL
        AND (
            $18::uuid IS NULL
            OR $26::bigint = (
                SELECT u.subscriptions_version FROM signalstack.users AS u WHERE u.id = $1::uuid
            )
        )
    ON CONFLICT (user_id, route, key) DO UPDATE SET
        fingerprint = CASE
            WHEN i.expires_at > now() THEN i.fingerprint ELSE excluded.fingerprint
        END,
        ref = CASE WHEN i.expires_at > now() THEN i.ref ELSE excluded.ref END,
        expires_at = CASE WHEN i.expires_at > now() THEN i.expires_at ELSE excluded.expires_at END
    RETURNING i.user_id, i.route, i.key, i.fingerprint, i.ref
),

event AS (
    INSERT INTO signalstack.events (
        user_id, id, type, payload, source, subject, external_id, occurred_at, extensions, job_ids
    )
    SELECT
        $1::uuid,
        $18::uuid,
        $19::text,
        $20::jsonb,
        $21::text,
        $22::text,
        $23::text,
        $24::timestamptz,
        $25::jsonb,
        ARRAY[$2::uuid]
    WHERE
        $18::uuid IS NOT NULL
        AND $26::bigint = (
            SELECT u.subscriptions_version FROM signalstack.users AS u WHERE u.id = $1::uuid
        )
        AND ($16::text IS NULL OR $18::uuid IN (SELECT key.ref FROM key))
    RETURNING id
),

fresh AS MATERIALIZED (
    SELECT true AS is_so
    WHERE
        CASE
            WHEN $18::uuid IS NULL THEN $2::uuid IN (SELECT key.ref FROM key)
            ELSE EXISTS (SELECT FROM event)
        END
),

host AS (
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
            AND EXISTS (SELECT FROM fresh)
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
        event_id, idempotency_key, traceparent, payload, watch, attempt, worker_id, lease_token,
        started_at
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
        $18::uuid,
        CASE WHEN $18::uuid IS NULL THEN $16::text END,
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
        FROM fresh
    ) AS due
    LEFT JOIN host ON true
    RETURNING
        user_id, id, type, queue, delayed, max_attempts, timeout_s, run_at, traceparent, payload
),

counted AS (
    INSERT INTO signalstack.metrics_delta (user_id, hour, events_received, jobs_created)
    SELECT
        job.user_id,
        date_bin('1 hour', now(), '2000-01-01 00:00:00+00'),
        ($18::uuid IS NOT NULL)::integer,
        1
    FROM job
)

SELECT
    now() AS at,
    key.user_id,
    key.route,
    key.key,
    key.fingerprint,
    key.ref,
    (SELECT array_agg(event.id) FROM event) AS stored,
    CASE
        WHEN host.channel IS NOT NULL THEN signalstack.hand_over(
            host.channel, host.token, job.user_id, job.id, job.type, job.queue, job.max_attempts,
            job.timeout_s, job.run_at, job.traceparent, job.payload
        )
        WHEN job.id IS NOT NULL THEN pg_notify(
            CASE WHEN job.delayed THEN 'signalstack_later' ELSE 'signalstack_ready' END, job.queue
        )
    END::text AS rung,
    CASE WHEN $14::boolean THEN set_config('synchronous_commit', 'off', true) END AS hurried
FROM (SELECT true AS here) AS request
LEFT JOIN key ON true
LEFT JOIN job ON true
LEFT JOIN host ON true
