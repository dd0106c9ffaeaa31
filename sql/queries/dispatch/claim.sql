-- Lease up to $3 waiting jobs of the queues $1, at most an even share from each of up to $4 lanes
-- (a lane is one tenant's part of one queue), walking the tenants of each queue upwards from the
-- one that $2 names, so that nobody's flood starves another. The walk skips from lane to lane by
-- the index and never reads a lane to its end; a lane whose jobs all run already takes no share,
-- nor does it keep a claimer going round for nothing.
-- Where there is not room for one of each lane, chance says whose turn it is: the token orders the
-- lanes, and those of shared queues come before or behind all others.
-- It goes by (queue, user_id) as one: with a condition for each of them the planner may take the
-- primary key's index, once one tenant has most rows, and read a million of them to find none of
-- another queue.
-- MATERIALIZED: in a plain subquery the planner may run the locking SELECT more than once and claim
-- more than its limit. The update touches no indexed column, so it is a HOT update. It finds its
-- rows by ctid: a join would, planned while the table was empty, read a whole index later. A row
-- that somebody else changed in that moment is not found: fewer come back than were `chosen`.
-- A limited lane is claimed by one worker at a time: its row of queues is locked first, and one
-- that is locked is left for later. No lock is ever waited for. The operator's queues stand under
-- the nil user: a limit of theirs is held by all tenants together, whose jobs take turns (the first
-- of each tenant, then the second …), beginning behind the tenant whose turn was the last one. So
-- does the walk of such a queue, which goes on from nil up to that tenant; a claim that goes on at
-- a cursor leaves it alone.
-- A payload comes along up to $8 bytes, as it is stored and as text, so that a claim is bounded in
-- memory: 1e131071 takes 10 bytes there and 131,072 here. Others are read one by one.
WITH RECURSIVE start AS (
    SELECT
        q.queue,
        -- In a SELECT of its own it is read once, and not again for each of a thousand queues.
        coalesce(
            o.turn,
            ((SELECT $2::text::jsonb) ->> q.queue)::uuid,
            '00000000-0000-0000-0000-000000000000'
        ) AS past,
        NULL::uuid AS last
    FROM unnest($1::text[]) AS q (queue)
    LEFT JOIN signalstack.queues AS o
        ON
            q.queue = o.name
            AND o.user_id = '00000000-0000-0000-0000-000000000000'
            AND coalesce(o.concurrency, o.rate_limit) IS NOT NULL
    WHERE o.name IS NULL OR $2::text = '{}'
    UNION ALL
    SELECT o.name, '00000000-0000-0000-0000-000000000000'::uuid, o.turn
    FROM signalstack.queues AS o
    WHERE
        o.user_id = '00000000-0000-0000-0000-000000000000'
        AND o.name = any($1::text[])
        AND coalesce(o.concurrency, o.rate_limit) IS NOT NULL
        AND o.turn IS NOT NULL
        AND $2::text = '{}'
),

walk AS (
    SELECT q.queue, head.user_id, q.last
    FROM start AS q
    CROSS JOIN LATERAL (
        SELECT j.queue, j.user_id
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND (j.queue, j.user_id) > (q.queue, q.past)
            AND j.lease_token IS NULL
        ORDER BY j.queue, j.user_id
        LIMIT 1
    ) AS head
    -- A worker that was given up for dead must not lease anything more.
    WHERE
        head.queue = q.queue
        AND (q.last IS NULL OR head.user_id <= q.last)
        AND EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = $5::uuid)
    UNION ALL
    SELECT walk.queue, next.user_id, walk.last
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
    WHERE next.queue = walk.queue AND (walk.last IS NULL OR next.user_id <= walk.last)
),

walked AS MATERIALIZED (
    SELECT walk.queue, walk.user_id FROM walk LIMIT $4::integer
),

lane AS MATERIALIZED (
    SELECT
        walked.queue,
        walked.user_id,
        coalesce(q.concurrency, q.rate_limit) IS NOT NULL AS limited,
        coalesce(o.concurrency, o.rate_limit) IS NOT NULL AS shared
    FROM walked
    LEFT JOIN signalstack.queues AS q ON walked.user_id = q.user_id AND walked.queue = q.name
    LEFT JOIN signalstack.queues AS o
        ON o.user_id = '00000000-0000-0000-0000-000000000000' AND walked.queue = o.name
    WHERE q.paused IS NOT true AND o.paused IS NOT true
    ORDER BY hashtextextended(walked.queue, uuid_hash_extended(walked.user_id, $6::bigint))
),

quota AS MATERIALIZED (
    SELECT
        q.user_id,
        q.name,
        q.rate_limit,
        q.rate_per_s,
        q.turn,
        -- Other limits, or a pause, are as good as no slot.
        extract(EPOCH FROM greatest(q.full_at, q.updated_at)) AS full_at,
        -- As if the bucket had been filled from then on, which its last claim left as it was.
        extract(EPOCH FROM q.refilled_at) - q.tokens * q.rate_per_s / q.rate_limit AS empty_at,
        -- Below zero while a receiver is left alone (queues/hold.sql), but still an integer.
        CASE WHEN q.rate_limit IS NOT NULL THEN greatest(
            least(
                q.rate_burst,
                q.tokens
                + extract(EPOCH FROM clock_timestamp() - q.refilled_at)
                * q.rate_limit / q.rate_per_s
            ),
            -1e9
        ) END::double precision AS tokens,
        -- greatest() alone would take no limit for none left: it passes NULL over.
        CASE WHEN q.concurrency IS NOT NULL THEN greatest(q.concurrency - q.running, 0) END AS free
    FROM signalstack.queues AS q
    WHERE
        EXISTS (SELECT FROM lane WHERE lane.limited OR lane.shared)
        AND (q.user_id, q.name) IN (
            SELECT lane.user_id, lane.queue FROM lane WHERE lane.limited
            UNION ALL
            SELECT '00000000-0000-0000-0000-000000000000', lane.queue FROM lane WHERE lane.shared
        )
    ORDER BY q.user_id, q.name
    FOR UPDATE SKIP LOCKED
),

share AS MATERIALIZED (
    SELECT
        (SELECT count(*) FROM walked)::integer AS lanes,
        ceil($3::integer / greatest(count(*), 1)::double precision)::integer AS jobs,
        -- Where the next walk goes on in each queue when this one was cut short: nobody is passed
        -- over, and nobody visited twice because another queue has more lanes.
        (
            SELECT $2::text::jsonb || jsonb_object_agg(last.queue, last.user_id)
            FROM (
                SELECT DISTINCT ON (l.queue) l.queue, l.user_id
                FROM walked AS l
                ORDER BY l.queue, l.user_id DESC
            ) AS last
        )::varchar AS cursor
    FROM lane
),

allowed AS MATERIALIZED (
    SELECT
        lane.queue,
        lane.user_id,
        lane.shared,
        -- Of all lanes of the queue together; NULL is no limit.
        least(whole.free, floor(whole.tokens)::integer) AS together,
        whole.turn IS NULL OR lane.user_id > whole.turn AS ahead,
        CASE
            -- No quota: another worker claims from this lane right now.
            WHEN lane.limited AND own.user_id IS NULL THEN 0
            WHEN lane.shared AND whole.user_id IS NULL THEN 0
            -- least() passes over NULL, which is no limit.
            ELSE greatest(
                least(
                    share.jobs,
                    own.free,
                    floor(own.tokens)::integer,
                    whole.free,
                    floor(whole.tokens)::integer
                ),
                0
            )
        END AS jobs
    FROM lane
    CROSS JOIN share
    LEFT JOIN quota AS own
        ON lane.limited AND lane.user_id = own.user_id AND lane.queue = own.name
    LEFT JOIN quota AS whole
        ON
            lane.shared
            AND whole.user_id = '00000000-0000-0000-0000-000000000000'
            AND lane.queue = whole.name
),

-- More than may be taken together: their rows are locked, and left alone.
rivals AS MATERIALIZED (
    SELECT
        waiting.spot,
        waiting.id,
        allowed.queue,
        allowed.user_id,
        allowed.together,
        allowed.ahead,
        row_number() OVER (
            PARTITION BY allowed.queue, allowed.user_id ORDER BY waiting.priority DESC, waiting.id
        ) AS turn
    FROM allowed
    CROSS JOIN LATERAL (
        SELECT
            j.ctid AS spot,
            j.id,
            j.priority
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND j.queue = allowed.queue
            AND j.user_id = allowed.user_id
            AND j.lease_token IS NULL
        ORDER BY j.priority DESC, j.id
        LIMIT allowed.jobs
        FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE allowed.shared
),

ranked AS MATERIALIZED (
    SELECT
        rivals.spot,
        rivals.id,
        rivals.user_id,
        rivals.together,
        row_number() OVER (
            PARTITION BY rivals.queue
            ORDER BY rivals.turn, rivals.ahead DESC, rivals.user_id
        ) AS place
    FROM rivals
),

chosen AS MATERIALIZED (
    SELECT ranked.spot
    FROM ranked
    WHERE ranked.place <= ranked.together AND $6::bigint % 2 = 0
    UNION ALL
    SELECT waiting.spot
    FROM allowed
    CROSS JOIN LATERAL (
        SELECT j.ctid AS spot
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND j.queue = allowed.queue
            AND j.user_id = allowed.user_id
            AND j.lease_token IS NULL
        ORDER BY j.priority DESC, j.id
        LIMIT allowed.jobs
        FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE NOT allowed.shared
    UNION ALL
    SELECT ranked.spot
    FROM ranked
    WHERE ranked.place <= ranked.together AND $6::bigint % 2 <> 0
    LIMIT $3::integer
),

claimed AS (
    UPDATE signalstack.jobs AS j
    SET
        -- No row, whoever wrote it, may overflow and so keep all others from being claimed.
        attempt = least(j.attempt, 2147483646) + 1,
        worker_id = $5::uuid,
        lease_token = $6::bigint,
        limited = (j.user_id, j.queue) IN (
            SELECT l.user_id, l.queue FROM lane AS l WHERE l.limited OR l.shared
        ),
        wake = coalesce(j.wake, $7::text),
        started_at = clock_timestamp(),
        updated_at = clock_timestamp()
    WHERE j.ctid = any(array(SELECT chosen.spot FROM chosen))
    RETURNING
        j.user_id, j.id, j.type, j.queue, j.attempt, j.max_attempts, j.timeout_s, j.run_at, j.wake,
        j.traceparent, j.limited, j.watch, j.priority, j.postponed_since, j.ctid AS spot,
        CASE WHEN pg_column_size(j.payload) <= $8::integer THEN j.payload::text END AS payload
),

used AS (
    UPDATE signalstack.queues AS q
    SET
        running = q.running + taken.jobs,
        tokens = coalesce(quota.tokens - taken.jobs, 0),
        turn = coalesce(taken.turn, q.turn),
        refilled_at = clock_timestamp()
    FROM (
        SELECT
            whose.user_id,
            c.queue,
            count(*)::integer AS jobs,
            (array_agg(r.user_id ORDER BY r.place DESC))[1] AS turn
        FROM claimed AS c
        LEFT JOIN ranked AS r ON c.id = r.id AND c.user_id = r.user_id
        CROSS JOIN unnest(
            ARRAY[c.user_id, '00000000-0000-0000-0000-000000000000'::uuid]
        ) AS whose (user_id)
        WHERE c.limited
        GROUP BY whose.user_id, c.queue
    ) AS taken
    INNER JOIN quota ON taken.user_id = quota.user_id AND taken.queue = quota.name
    WHERE q.user_id = taken.user_id AND q.name = taken.queue
    RETURNING q.user_id, q.name, q.tokens, taken.jobs
),

-- Until when the jobs of limited lanes were held back: a slot came free, or the last of the tokens
-- that they took. What had come due before did not wait for a worker; but what a poll found, nobody
-- rang for when there was room again, and it was late for that.
held AS (
    SELECT
        used.user_id,
        used.name,
        greatest(
            quota.full_at, quota.empty_at + used.jobs * quota.rate_per_s / quota.rate_limit
        ) AS until
    FROM used
    INNER JOIN quota ON used.user_id = quota.user_id AND used.name = quota.name
),

told AS (
    SELECT pg_notify('signalstack_changed', c.id::text)
    FROM claimed AS c
    WHERE c.watch > 1
),

-- Seconds until a lane that ran out of tokens has one again, or one that was locked is tried again:
-- who holds it may leave jobs behind, and nobody would ring for them.
emptied AS (
    SELECT
        quota.rate_per_s / quota.rate_limit AS token_s,
        coalesce(used.tokens, quota.tokens) AS tokens
    FROM quota
    LEFT JOIN used ON quota.user_id = used.user_id AND quota.name = used.name
    WHERE quota.free IS DISTINCT FROM 0
),

refill AS (
    SELECT
        least(
            (SELECT min((1 - e.tokens) * e.token_s) FROM emptied AS e WHERE e.tokens < 1),
            (
                SELECT min(0.005)
                FROM lane
                WHERE
                    lane.limited
                    AND NOT EXISTS (
                        SELECT FROM quota
                        WHERE quota.user_id = lane.user_id AND quota.name = lane.queue
                    )
                    OR lane.shared
                    AND NOT EXISTS (
                        SELECT FROM quota
                        WHERE
                            quota.user_id = '00000000-0000-0000-0000-000000000000'
                            AND quota.name = lane.queue
                    )
            )
        )::double precision AS wait_s
)

SELECT
    share.lanes,
    share.jobs AS share,
    -- Once: with a thousand queues it is 50 KB.
    CASE
        WHEN row_number() OVER (ORDER BY claimed.priority DESC, claimed.id) = 1
            THEN (SELECT s.cursor FROM share AS s)
    END AS cursor,
    (SELECT count(*) FROM chosen)::integer AS chosen,
    coalesce((SELECT bool_or(lane.limited OR lane.shared) FROM lane), false) AS held,
    refill.wait_s,
    claimed.user_id,
    claimed.id,
    claimed.type,
    claimed.queue,
    claimed.attempt,
    claimed.max_attempts,
    claimed.timeout_s,
    claimed.run_at,
    CASE
        WHEN
            claimed.wake NOT IN ('poll', 'rescue')
            AND extract(EPOCH FROM claimed.run_at) < greatest(own.until, whole.until)
            THEN 'backlog'
        ELSE claimed.wake
    END AS wake,
    claimed.traceparent,
    CASE WHEN octet_length(claimed.payload) <= $8::integer THEN claimed.payload END::varchar
        AS payload,
    claimed.postponed_since,
    claimed.spot
FROM share
CROSS JOIN refill
CROSS JOIN (SELECT count(*) FROM told) AS done (bells)
LEFT JOIN claimed ON true
LEFT JOIN held AS own ON claimed.user_id = own.user_id AND claimed.queue = own.name
LEFT JOIN held AS whole
    ON
        whole.user_id = '00000000-0000-0000-0000-000000000000'
        AND claimed.queue = whole.name
-- Rows found by ctid come in the order of the table, and jobs are to start in theirs.
ORDER BY claimed.priority DESC, claimed.id
