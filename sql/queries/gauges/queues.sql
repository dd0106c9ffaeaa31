-- How each queue stands, all tenants together, for the operator's gauges. Read from the index of
-- claimable jobs, by up to `lanes` tenants of queues, and from that of delayed jobs: at most
-- `budget` of either, so that no backlog costs more than milliseconds. What lies
-- beyond is PostgreSQL's own estimate: the rows of the index at its last vacuum, parted by the
-- shares of queues at its last analyze. The oldest is sought beyond the limit too, by skipping from
-- priority to priority: what waits for ever behind others is what people look for. The operator's
-- queues come first, then those with jobs: only so many have a series of their own.
WITH RECURSIVE walk AS (
    (
        SELECT j.queue
        FROM signalstack.jobs AS j
        WHERE NOT j.delayed
        ORDER BY j.queue
        LIMIT 1
    )
    UNION ALL
    SELECT next.queue
    FROM walk
    CROSS JOIN LATERAL (
        SELECT j.queue
        FROM signalstack.jobs AS j
        WHERE NOT j.delayed AND j.queue > walk.queue
        ORDER BY j.queue
        LIMIT 1
    ) AS next
),

each AS MATERIALIZED (
    SELECT greatest(%(lanes)s::integer / greatest(count(*), 1), 2) AS lanes
    FROM walk
),

lane AS MATERIALIZED (
    SELECT walk.queue, tenant.user_id
    FROM walk
    CROSS JOIN LATERAL (
        WITH RECURSIVE step AS (
            (
                SELECT j.user_id
                FROM signalstack.jobs AS j
                WHERE NOT j.delayed AND j.queue = walk.queue
                ORDER BY j.user_id
                LIMIT 1
            )
            UNION ALL
            SELECT following.user_id
            FROM step
            CROSS JOIN LATERAL (
                SELECT j.queue, j.user_id
                FROM signalstack.jobs AS j
                -- As one, like a claim's: with two conditions a plan may take the primary key.
                WHERE NOT j.delayed AND (j.queue, j.user_id) > (walk.queue, step.user_id)
                ORDER BY j.queue, j.user_id
                LIMIT 1
            ) AS following
            WHERE following.queue = walk.queue
        )

        SELECT step.user_id
        FROM step
        LIMIT (SELECT each.lanes FROM each)
    ) AS tenant
),

share AS MATERIALIZED (
    SELECT ceil(%(budget)s::integer / greatest(count(*), 1)::double precision)::integer AS jobs
    FROM lane
),

seen AS MATERIALIZED (
    SELECT
        lane.queue,
        lane.user_id,
        part.waiting,
        part.running,
        part.oldest,
        part.jobs > share.jobs AS cut
    FROM lane
    CROSS JOIN share
    CROSS JOIN LATERAL (
        SELECT
            count(*) AS jobs,
            count(*) FILTER (WHERE few.lease_token IS NULL) AS waiting,
            count(*) FILTER (WHERE few.lease_token IS NOT NULL) AS running,
            min(few.run_at) FILTER (WHERE few.lease_token IS NULL) AS oldest
        FROM (
            SELECT j.lease_token, j.run_at
            FROM signalstack.jobs AS j
            WHERE NOT j.delayed AND j.queue = lane.queue AND j.user_id = lane.user_id
            ORDER BY j.priority DESC, j.id
            LIMIT share.jobs + 1
        ) AS few
    ) AS part
),

behind AS MATERIALIZED (
    SELECT seen.queue, min(heads.oldest) AS oldest
    FROM seen
    CROSS JOIN LATERAL (
        WITH RECURSIVE level AS (
            (
                SELECT j.priority
                FROM signalstack.jobs AS j
                WHERE NOT j.delayed AND j.queue = seen.queue AND j.user_id = seen.user_id
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
                    AND j.queue = seen.queue
                    AND j.user_id = seen.user_id
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
                AND j.queue = seen.queue
                AND j.user_id = seen.user_id
                AND j.priority = level.priority
                AND j.lease_token IS NULL
            ORDER BY j.id
            LIMIT 1
        ) AS head
    ) AS heads
    WHERE seen.cut
    GROUP BY seen.queue
),

ready AS MATERIALIZED (
    SELECT
        seen.queue,
        sum(seen.waiting)::bigint AS waiting,
        sum(seen.running)::bigint AS running,
        min(seen.oldest) AS oldest,
        bool_or(seen.cut) OR count(*) >= (SELECT each.lanes FROM each) AS cut
    FROM seen
    GROUP BY seen.queue
),

soonest AS MATERIALIZED (
    SELECT j.queue, j.run_at
    FROM signalstack.jobs AS j
    WHERE j.delayed
    ORDER BY j.run_at
    LIMIT %(budget)s + 1
),

later AS MATERIALIZED (
    SELECT
        soonest.queue,
        count(*) FILTER (WHERE soonest.run_at > statement_timestamp()) AS scheduled,
        count(*) FILTER (WHERE soonest.run_at <= statement_timestamp()) AS due,
        min(soonest.run_at) FILTER (WHERE soonest.run_at <= statement_timestamp()) AS oldest,
        sum(count(*)) OVER () > %(budget)s AS cut
    FROM soonest
    GROUP BY soonest.queue
),

declared AS MATERIALIZED (
    SELECT
        q.name,
        bool_or(q.paused) AS paused,
        bool_or(q.user_id = '00000000-0000-0000-0000-000000000000') AS operators
    FROM signalstack.queues AS q
    GROUP BY q.name
),

-- The planner's shares of queues; none while nothing was analyzed yet.
portion AS MATERIALIZED (
    SELECT common.queue, common.part
    FROM pg_catalog.pg_stats AS s
    CROSS JOIN LATERAL unnest(
        s.most_common_vals::text::text[], s.most_common_freqs
    ) AS common (queue, part)
    WHERE s.schemaname = 'signalstack' AND s.tablename = 'jobs' AND s.attname = 'queue'
),

indexed AS MATERIALIZED (
    SELECT
        max(c.reltuples) FILTER (WHERE c.relname = 'jobs_ready') AS ready,
        max(c.reltuples) FILTER (WHERE c.relname = 'jobs_delayed') AS delayed
    FROM pg_catalog.pg_class AS c
    WHERE
        c.oid IN (
            to_regclass('signalstack.jobs_ready')::oid,
            to_regclass('signalstack.jobs_delayed')::oid
        )
)

SELECT
    name.queue,
    greatest(
        coalesce(ready.waiting, 0) + coalesce(later.due, 0),
        CASE WHEN ready.cut THEN (indexed.ready * portion.part)::bigint - ready.running END
    ) AS pending,
    coalesce(ready.running, 0) AS running,
    greatest(
        coalesce(later.scheduled, 0),
        CASE WHEN later.cut THEN (indexed.delayed * portion.part)::bigint - later.due END
    ) AS scheduled,
    coalesce(
        extract(
            EPOCH FROM clock_timestamp() - least(ready.oldest, behind.oldest, later.oldest)
        )::double precision,
        0
    ) AS oldest_s,
    (
        SELECT count(*)
        FROM signalstack.workers AS w
        WHERE
            w.lease_until > clock_timestamp()
            AND (name.queue = any(w.queues) OR cardinality(w.queues) = 0)
    ) AS workers,
    coalesce(declared.paused, false) AS paused
FROM (
    SELECT r.queue FROM ready AS r
    UNION
    SELECT l.queue FROM later AS l
    UNION
    SELECT d.name FROM declared AS d
) AS name (queue)
CROSS JOIN indexed
LEFT JOIN ready ON name.queue = ready.queue
LEFT JOIN later ON name.queue = later.queue
LEFT JOIN behind ON name.queue = behind.queue
LEFT JOIN declared ON name.queue = declared.name
LEFT JOIN portion ON name.queue = portion.queue
ORDER BY
    coalesce(declared.operators, false) DESC,
    (ready.queue IS NOT NULL OR later.queue IS NOT NULL) DESC,
    name.queue;
