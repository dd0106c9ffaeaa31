-- Lease up to $3 waiting jobs of the queues $1, at most an even share from each of up to $4 lanes
-- (a lane is one tenant's part of one queue), walking tenants upwards from $2, so that nobody's
-- flood starves another. The walk skips from lane to lane by the index and never reads a lane to
-- its end; a lane whose jobs all run already takes no share, nor does it keep a claimer going
-- round for nothing.
-- MATERIALIZED: in a plain subquery the planner may run the locking SELECT more than once and claim
-- more than its limit. The update touches no indexed column, so it is a HOT update. It finds its
-- rows by ctid: a join would, planned while the table was empty, read a whole index later. A row
-- that somebody else changed in that moment is not found, which `missed` tells.
WITH RECURSIVE walk AS (
    SELECT q.queue, head.user_id
    FROM unnest($1::text[]) AS q (queue)
    CROSS JOIN LATERAL (
        SELECT j.user_id
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND j.queue = q.queue
            AND j.user_id > $2::uuid
            AND j.lease_token IS NULL
        ORDER BY j.user_id
        LIMIT 1
    ) AS head
    -- A worker that was given up for dead must not lease anything more.
    WHERE EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = $5::uuid)
    UNION ALL
    SELECT walk.queue, next.user_id
    FROM walk
    CROSS JOIN LATERAL (
        SELECT j.user_id
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND j.queue = walk.queue
            AND j.user_id > walk.user_id
            AND j.lease_token IS NULL
        ORDER BY j.user_id
        LIMIT 1
    ) AS next
),

lane AS MATERIALIZED (
    SELECT walk.queue, walk.user_id FROM walk LIMIT $4::integer
),

share AS MATERIALIZED (
    SELECT
        count(*)::integer AS lanes,
        ceil($3::integer / greatest(count(*), 1)::double precision)::integer AS jobs,
        -- Where the next walk goes on when this one was cut short: nobody is passed over.
        (
            SELECT last.user_id
            FROM (
                SELECT DISTINCT ON (l.queue) l.user_id
                FROM lane AS l
                ORDER BY l.queue, l.user_id DESC
            ) AS last
            ORDER BY last.user_id
            LIMIT 1
        ) AS cursor
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
    LIMIT $3::integer
),

claimed AS (
    UPDATE signalstack.jobs AS j
    SET
        attempt = j.attempt + 1,
        worker_id = $5::uuid,
        lease_token = $6::bigint,
        wake = coalesce(j.wake, $7::text),
        started_at = clock_timestamp(),
        updated_at = clock_timestamp()
    WHERE j.ctid = any(array(SELECT chosen.spot FROM chosen))
    RETURNING
        j.user_id, j.id, j.type, j.queue, j.attempt, j.max_attempts, j.timeout_s, j.run_at, j.wake,
        j.traceparent, j.payload::text
)

SELECT
    share.lanes,
    share.jobs AS share,
    share.cursor,
    (SELECT count(*) FROM chosen) > (SELECT count(c.id) FROM claimed AS c) AS missed,
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
    claimed.payload
FROM share
LEFT JOIN claimed ON true
