-- Which database of which running server this is, and which process answers: behind a pooler not
-- the one that the client was told when it connected. The start tells a standby from its primary.
SELECT
    d.oid::bigint AS oid,
    d.datname::text AS name,
    pg_catalog.pg_postmaster_start_time() AS started_at,
    pg_catalog.pg_backend_pid() AS pid
FROM pg_catalog.pg_database AS d
WHERE d.datname = current_database();
