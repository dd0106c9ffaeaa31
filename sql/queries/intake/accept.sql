-- Store events and the jobs that their subscriptions made of them, all in one statement.
-- `version` is the tenant's version of its subscriptions that the jobs were made from: when it is
-- out of date nothing of that event is stored, its id does not come back, and the caller matches
-- anew. Keys guard as in enqueue.sql, and with $27 a single job is handed over as there.
WITH key AS (
    INSERT INTO signalstack.idempotency AS i (user_id, route, key, fingerprint, ref, expires_at)
    SELECT k.user_id, k.route, k.key, k.fingerprint, k.ref, now() + interval '24 hours'
    FROM unnest($12::uuid[], $13::text[], $14::text[], $15::bytea[], $16::uuid[], $17::bigint[])
        AS k (user_id, route, key, fingerprint, ref, version)
    WHERE k.version = (
        SELECT u.subscriptions_version FROM signalstack.users AS u WHERE u.id = k.user_id
    )
    ORDER BY k.user_id, k.route, k.key
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
        n.user_id,
        n.id,
        n.type,
        n.payload,
        n.source,
        n.subject,
        n.external_id,
        n.occurred_at,
        n.extensions,
        coalesce(
            (
                SELECT array_agg(made.id ORDER BY made.nth)
                FROM unnest($18::uuid[], $19::uuid[]) WITH ORDINALITY AS made (id, event_id, nth)
                WHERE made.event_id = n.id
            ),
            '{}'
        )
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::jsonb[], $5::text[], $6::text[],
        $7::text[], $8::timestamptz[], $9::jsonb[], $10::bigint[], $11::uuid[]
    ) AS n (
        user_id, id, type, payload, source, subject,
        external_id, occurred_at, extensions, version, guard
    )
    WHERE
        n.version = (
            SELECT u.subscriptions_version FROM signalstack.users AS u WHERE u.id = n.user_id
        )
        AND (n.guard IS NULL OR n.guard IN (SELECT key.ref FROM key))
    RETURNING user_id, id
),

host AS MATERIALIZED (
    SELECT i.worker_id, i.token, i.channel
    FROM event
    CROSS JOIN LATERAL signalstack.take_invitation(($21::text[])[1], event.user_id) AS i
    WHERE $27::boolean
),

job AS (
    INSERT INTO signalstack.jobs (
        user_id, id, type, queue, priority, delayed, max_attempts, run_at, wake, event_id,
        traceparent, payload, attempt, worker_id, lease_token, started_at
    )
    SELECT
        event.user_id,
        n.id,
        n.type,
        n.queue,
        n.priority,
        n.delay_s > 0,
        n.max_attempts,
        now() + n.delay_s * interval '1 second',
        CASE WHEN n.delay_s > 0 THEN 'timer' WHEN host.token IS NOT NULL THEN 'notify' END,
        n.event_id,
        n.traceparent,
        n.payload,
        CASE WHEN host.token IS NOT NULL THEN 1 ELSE 0 END,
        host.worker_id,
        host.token,
        CASE WHEN host.token IS NOT NULL THEN clock_timestamp() END
    FROM unnest(
        $18::uuid[], $19::uuid[], $20::text[], $21::text[], $22::smallint[],
        $23::double precision[], $24::integer[], $25::text[], $26::jsonb[]
    ) AS n (
        id, event_id, type, queue, priority,
        delay_s, max_attempts, traceparent, payload
    )
    INNER JOIN event ON n.event_id = event.id
    LEFT JOIN host ON true
    RETURNING user_id, id, type, queue, delayed, max_attempts, run_at, traceparent, payload
),

counted AS (
    INSERT INTO signalstack.metrics_delta (user_id, hour, events_received, jobs_created)
    SELECT
        event.user_id,
        date_bin('1 hour', now(), '2000-01-01 00:00:00+00'),
        count(*),
        (SELECT count(*) FROM job WHERE job.user_id = event.user_id)
    FROM event
    GROUP BY event.user_id
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
        NULL, job.run_at, job.traceparent, job.payload
    )
    FROM job
    INNER JOIN host ON host.token IS NOT NULL
)

SELECT
    now() AS at,
    key.user_id,
    key.route,
    key.key,
    key.fingerprint,
    key.ref,
    (SELECT array_agg(event.id) FROM event) AS stored
FROM (SELECT count(*) FROM rung) AS done (bells)
LEFT JOIN key ON true
