-- What goes on in the server, from its own statistics. A role that is not a member of
-- pg_read_all_stats sees the state and transactions of its own backends alone: others count as
-- `other`. Vacuuming holds no horizon back, however long it takes. Nor does what goes on in other
-- databases hold back that of our tables: only what is in ours does, what is in none (who sends
-- WAL to a standby with feedback), and replication slots, wherever they are.
WITH backend AS MATERIALIZED (
    SELECT
        a.datname,
        a.state,
        a.xact_start,
        a.backend_xmin,
        a.datid IS NOT NULL AND coalesce(a.backend_type, 'client backend') = 'client backend'
            AS client
    FROM pg_catalog.pg_stat_activity AS a
    WHERE a.backend_type IS DISTINCT FROM 'autovacuum worker' AND a.pid <> pg_backend_pid()
),

horizon AS MATERIALIZED (
    SELECT b.xact_start AS since, age(b.backend_xmin) AS transactions
    FROM backend AS b
    WHERE b.datname IS NULL OR b.datname = current_database()
    UNION ALL
    SELECT p.prepared AS since, age(p.transaction) AS transactions
    FROM pg_catalog.pg_prepared_xacts AS p
    WHERE p.database = current_database()
    UNION ALL
    SELECT null AS since, greatest(age(r.xmin), age(r.catalog_xmin)) AS transactions
    FROM pg_catalog.pg_replication_slots AS r
)

SELECT
    extract(EPOCH FROM clock_timestamp())::double precision AS at,
    pg_catalog.pg_notification_queue_usage() AS notify_queue,
    count(*) FILTER (WHERE b.client AND b.state = 'active') AS active,
    count(*) FILTER (WHERE b.client AND b.state = 'idle') AS idle,
    count(*) FILTER (WHERE b.client AND b.state LIKE 'idle in transaction%%') AS in_transaction,
    count(*) FILTER (
        WHERE
        b.client
        AND (
            b.state IS NULL
            OR (b.state NOT IN ('active', 'idle') AND b.state NOT LIKE 'idle in transaction%%')
        )
    ) AS other,
    current_setting('max_connections')::integer AS connections_limit,
    (
        SELECT coalesce(extract(EPOCH FROM clock_timestamp() - min(h.since)), 0)::double precision
        FROM horizon AS h
    ) AS oldest_transaction_s,
    (SELECT coalesce(max(h.transactions), 0)::bigint FROM horizon AS h) AS xmin_age,
    pg_catalog.pg_is_in_recovery() AS in_recovery
FROM backend AS b;
