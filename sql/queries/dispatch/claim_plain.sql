-- What claim.sql does where no queue has limits and there are fewer lanes than $4, at half the
-- cost: most of that is what it takes to start so large a statement. Lanes with limits are left
-- alone; that they are there (`held`), or as many lanes as asked for, tells who claims to go on
-- with claim.sql. Its words and rules are these too: see there why things are as they are.
WITH RECURSIVE walk AS (
    SELECT q.queue, head.user_id
    FROM unnest($1::text[]) AS q (queue)
    CROSS JOIN LATERAL (
        SELECT j.queue, j.user_id
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND (j.queue, j.user_id) > (q.queue, $2::uuid)
            AND j.lease_token IS NULL
        ORDER BY j.queue, j.user_id
        LIMIT 1
    ) AS head
    WHERE
        head.queue = q.queue
        AND EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = $5::uuid)
    UNION ALL
    SELECT walk.queue, next.user_id
    FROM walk
    CROSS JOIN LATERAL (
        SELECT j.queue, j.user_id
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND (j.queue, j.user_id) > (walk.queue, walk.user_id)
            AND j.lease_token IS NULL
        ORDER BY j.queue, j.user_id
        LIMIT 1
    ) AS next
    WHERE next.queue = walk.queue
),

lane AS MATERIALIZED (
    SELECT
        walked.queue,
        walked.user_id,
        q.paused IS true OR o.paused IS true AS paused,
        coalesce(q.concurrency, q.rate_limit, o.concurrency, o.rate_limit) IS NOT NULL AS held
    FROM (SELECT walk.queue, walk.user_id FROM walk LIMIT $4::integer) AS walked
    LEFT JOIN signalstack.queues AS q ON walked.user_id = q.user_id AND walked.queue = q.name
    LEFT JOIN signalstack.queues AS o
        ON o.user_id = '00000000-0000-0000-0000-000000000000' AND walked.queue = o.name
    ORDER BY hashtextextended(walked.queue, uuid_hash_extended(walked.user_id, $6::bigint))
),

share AS MATERIALIZED (
    SELECT
        count(*)::integer AS lanes,
        coalesce(bool_or(lane.held AND NOT lane.paused), false) AS held,
        ceil(
            $3::integer
            / greatest(count(*) FILTER (WHERE NOT lane.held AND NOT lane.paused), 1)::float8
        )::integer AS jobs
    FROM lane
),

chosen AS MATERIALIZED (
    SELECT waiting.spot
    FROM lane
    CROSS JOIN LATERAL (
        SELECT j.ctid AS spot
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND j.queue = lane.queue
            AND j.user_id = lane.user_id
            AND j.lease_token IS NULL
        ORDER BY j.priority DESC, j.id
        LIMIT (SELECT share.jobs FROM share)
        FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE NOT lane.held AND NOT lane.paused
    LIMIT $3::integer
),

claimed AS (
    UPDATE signalstack.jobs AS j
    SET
        attempt = least(j.attempt, 2147483646) + 1,
        worker_id = $5::uuid,
        lease_token = $6::bigint,
        limited = false,
        wake = coalesce(j.wake, $7::text),
        started_at = clock_timestamp(),
        updated_at = clock_timestamp()
    WHERE j.ctid = any(array(SELECT chosen.spot FROM chosen))
    RETURNING
        j.user_id, j.id, j.type, j.queue, j.attempt, j.max_attempts, j.timeout_s, j.run_at, j.wake,
        j.traceparent, j.priority, j.postponed_since, j.ctid AS spot,
        CASE WHEN pg_column_size(j.payload) <= $8::integer THEN j.payload::text END AS payload,
        CASE WHEN j.watch > 1 THEN pg_notify('signalstack_changed', j.id::text) END AS told
)

SELECT
    share.lanes,
    share.jobs AS share,
    NULL::uuid AS cursor,
    (SELECT count(*) FROM chosen)::integer AS chosen,
    share.held,
    NULL::double precision AS wait_s,
    claimed.user_id,
    claimed.id,
    claimed.type,
    claimed.queue,
    claimed.attempt,
    claimed.max_attempts,
    claimed.timeout_s,
    claimed.run_at,
    claimed.wake,
    claimed.traceparent,
    CASE WHEN octet_length(claimed.payload) <= $8::integer THEN claimed.payload END::varchar
        AS payload,
    claimed.postponed_since,
    claimed.spot
FROM share
LEFT JOIN claimed ON true
ORDER BY claimed.priority DESC, claimed.id
