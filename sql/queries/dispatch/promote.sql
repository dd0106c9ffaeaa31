-- Make delayed jobs claimable whose time has come, and tell how long until the next one.
-- statement_timestamp(): clock_timestamp() is volatile and cannot bound an index scan, which would
-- then read every delayed job there is.
WITH due AS MATERIALIZED (
    SELECT j.ctid AS spot
    FROM signalstack.jobs AS j
    WHERE j.delayed AND j.run_at <= statement_timestamp()
    ORDER BY j.run_at
    LIMIT $1::integer
    FOR UPDATE SKIP LOCKED
),

moved AS (
    UPDATE signalstack.jobs AS j
    SET delayed = false
    WHERE j.ctid = any(array(SELECT due.spot FROM due))
    RETURNING j.id, j.queue, j.watch
),

told AS (
    SELECT pg_notify('signalstack_changed', moved.id::text) FROM moved WHERE moved.watch > 1
)

SELECT
    (SELECT array_agg(DISTINCT moved.queue) FROM moved)::text[] AS queues,
    (SELECT count(*) FROM moved) AS moved,
    extract(EPOCH FROM (
        SELECT min(j.run_at)
        FROM signalstack.jobs AS j
        WHERE j.delayed AND j.run_at > statement_timestamp()
    ) - clock_timestamp())::double precision AS next_s
FROM (SELECT count(*) FROM told) AS done (bells)
