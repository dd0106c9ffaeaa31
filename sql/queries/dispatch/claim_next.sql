-- What claim_new.sql does, for a claim that follows one of many, at a seventh less: its rows are
-- given as they are updated, in no order, and what is said of the claim as a whole stands beside
-- each of them. So a claim of none says nothing, and everything is looked at again.
WITH RECURSIVE walk AS (
    SELECT q.queue, head.user_id
    FROM unnest($1::text[]) AS q (queue)
    CROSS JOIN LATERAL (
        SELECT j.queue, j.user_id
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND j.queue = q.queue
            AND j.user_id > $2::uuid
            AND j.id >= $9::uuid
            AND j.lease_token IS NULL
        ORDER BY j.queue, j.user_id, j.priority DESC, j.id
        LIMIT 1
    ) AS head
    WHERE EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = $5::uuid)
    UNION ALL
    SELECT walk.queue, next.user_id
    FROM walk
    CROSS JOIN LATERAL (
        SELECT j.queue, j.user_id
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND j.queue = walk.queue
            AND j.user_id > walk.user_id
            AND j.id >= $9::uuid
            AND j.lease_token IS NULL
        ORDER BY j.queue, j.user_id, j.priority DESC, j.id
        LIMIT 1
    ) AS next
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
            AND j.id >= $9::uuid
            AND j.lease_token IS NULL
        ORDER BY j.priority DESC, j.id
        LIMIT (SELECT share.jobs FROM share)
        FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE NOT lane.held AND NOT lane.paused
    LIMIT $3::integer
)

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
    (SELECT share.lanes FROM share) AS lanes,
    (SELECT share.jobs FROM share) AS share,
    (SELECT count(*) FROM chosen)::integer AS chosen,
    (SELECT share.held FROM share) AS held,
    j.priority,
    CASE WHEN j.watch > 1 THEN pg_notify('signalstack_changed', j.id::text) END AS told,
    j.user_id,
    j.id,
    j.type,
    j.queue,
    j.attempt,
    j.max_attempts,
    j.timeout_s,
    j.run_at,
    j.wake,
    j.traceparent,
    -- Made and cut by one step: text that is longer does not come along, however much longer.
    CASE
        WHEN pg_column_size(j.payload) <= $8::integer THEN left(j.payload::text, $8::integer + 1)
    END::varchar AS payload,
    j.postponed_since,
    j.ctid AS spot
