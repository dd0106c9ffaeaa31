-- The transaction that has been open the longest: vacuum can remove nothing that it might still
-- see. Those of other roles show only to members of pg_read_all_stats. An autovacuum worker may
-- take hours, holds nothing back, and is nobody's to end.
SELECT
    open.holder,
    extract(EPOCH FROM clock_timestamp() - open.began)::double precision AS age_s
FROM (
    SELECT
        'process ' || a.pid
        || coalesce(' (' || nullif(a.application_name, '') || ')', '') AS holder,
        a.xact_start AS began
    FROM pg_catalog.pg_stat_activity AS a
    WHERE
        a.datname = current_database()
        AND a.pid <> pg_backend_pid()
        AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
        AND a.xact_start IS NOT NULL
    UNION ALL
    SELECT
        'prepared transaction ' || p.gid AS holder,
        p.prepared AS began
    FROM pg_catalog.pg_prepared_xacts AS p
    WHERE p.database = current_database()
) AS open
ORDER BY open.began
LIMIT 1;
