-- The queues that a tenant may use, its own before the operator's of the same name, and how its
-- part of each stands. Read from the index of claimable jobs alone, so that neither history nor
-- delayed jobs cost anything; at most `budget` of them in all, so that no backlog does either.
-- The oldest is sought below that limit too, by skipping from priority to priority: what waits for
-- ever behind others is what people look for.
WITH mine AS MATERIALIZED (
    SELECT DISTINCT ON (q.name)
        q.name,
        q.paused,
        -- A limit that all share is shown where there is none of one's own.
        coalesce(q.concurrency, o.concurrency) AS concurrency,
        coalesce(q.rate_limit, o.rate_limit) AS rate_limit,
        CASE WHEN q.rate_limit IS NULL THEN o.rate_per_s ELSE q.rate_per_s END AS rate_per_s,
        CASE WHEN q.rate_limit IS NULL THEN o.rate_burst ELSE q.rate_burst END AS rate_burst,
        -- Of an operator's queue it counts the runs of all tenants, which is nobody's business.
        CASE
            WHEN q.user_id = %(user_id)s AND coalesce(q.concurrency, q.rate_limit) IS NOT NULL
                THEN q.running
        END AS running
    FROM signalstack.queues AS q
    LEFT JOIN signalstack.queues AS o
        ON q.name = o.name AND o.user_id = '00000000-0000-0000-0000-000000000000'
    WHERE
        q.user_id IN (%(user_id)s::uuid, '00000000-0000-0000-0000-000000000000')
        AND (%(name)s::text IS NULL OR q.name = %(name)s)
    ORDER BY q.name ASC, (q.user_id = %(user_id)s::uuid) DESC
),

share AS MATERIALIZED (
    SELECT %(budget)s::integer / greatest(count(*), 1)::integer AS jobs
    FROM mine
)

SELECT
    mine.name,
    mine.paused,
    mine.concurrency,
    mine.rate_limit,
    mine.rate_per_s,
    mine.rate_burst,
    seen.waiting AS depth,
    seen.jobs <= share.jobs AS depth_exact,
    extract(
        EPOCH FROM clock_timestamp() - least(seen.oldest, heads.oldest)
    )::double precision AS oldest_age_s,
    coalesce(mine.running, seen.running) AS running
FROM mine
CROSS JOIN share
CROSS JOIN LATERAL (
    SELECT
        count(*) AS jobs,
        count(*) FILTER (WHERE lane.lease_token IS NULL) AS waiting,
        count(*) FILTER (WHERE lane.lease_token IS NOT NULL) AS running,
        min(lane.run_at) FILTER (WHERE lane.lease_token IS NULL) AS oldest
    FROM (
        SELECT j.lease_token, j.run_at
        FROM signalstack.jobs AS j
        WHERE NOT j.delayed AND j.queue = mine.name AND j.user_id = %(user_id)s::uuid
        ORDER BY j.priority DESC, j.id
        LIMIT share.jobs + 1
    ) AS lane
) AS seen
CROSS JOIN LATERAL (
    WITH RECURSIVE level AS (
        (
            SELECT j.priority
            FROM signalstack.jobs AS j
            WHERE NOT j.delayed AND j.queue = mine.name AND j.user_id = %(user_id)s::uuid
            ORDER BY j.priority DESC
            LIMIT 1
        )
        UNION ALL
        SELECT below.priority
        FROM level
        CROSS JOIN LATERAL (
            SELECT j.priority
            FROM signalstack.jobs AS j
            WHERE
                NOT j.delayed
                AND j.queue = mine.name
                AND j.user_id = %(user_id)s::uuid
                AND j.priority < level.priority
            ORDER BY j.priority DESC
            LIMIT 1
        ) AS below
    )

    SELECT min(head.run_at) AS oldest
    FROM level
    CROSS JOIN LATERAL (
        SELECT j.run_at
        FROM signalstack.jobs AS j
        WHERE
            NOT j.delayed
            AND j.queue = mine.name
            AND j.user_id = %(user_id)s::uuid
            AND j.priority = level.priority
            AND j.lease_token IS NULL
        ORDER BY j.id
        LIMIT 1
    ) AS head
) AS heads
ORDER BY mine.name;
