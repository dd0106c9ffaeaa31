-- What the server is and how it is set, as this session has it: a role or a database may have
-- settings of its own. Settings that an older PostgreSQL does not know count as off.
WITH setting AS (
    SELECT
        name,
        setting AS value
    FROM pg_catalog.pg_settings
)

SELECT
    current_setting('server_version_num')::integer AS number,
    current_setting('server_version') AS version,
    current_setting('server_encoding') AS encoding,
    current_setting('fsync')::boolean AS fsync,
    current_setting('full_page_writes')::boolean AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    (
        current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean
    ) AS autovacuum,
    (
        SELECT coalesce(sum(setting.value::double precision), 0)
        FROM setting
        WHERE setting.name = 'statement_timeout'
    ) / 1000 AS statement_timeout_s,
    (
        SELECT coalesce(sum(setting.value::double precision), 0)
        FROM setting
        WHERE setting.name = 'idle_session_timeout'
    ) / 1000 AS idle_session_timeout_s,
    (
        SELECT
            sum(
                CASE setting.name WHEN 'max_connections' THEN 1 ELSE -1 END
                * setting.value::integer
            )
        FROM setting
        WHERE setting.name IN (
            'max_connections', 'superuser_reserved_connections', 'reserved_connections'
        )
    )::integer AS connections,
    (SELECT sum(s.numbackends) FROM pg_catalog.pg_stat_database AS s)::integer AS connected,
    (
        SELECT r.rolconnlimit
        FROM pg_catalog.pg_roles AS r
        WHERE r.rolname = current_user
    ) AS role_connections,
    (
        SELECT d.datconnlimit
        FROM pg_catalog.pg_database AS d
        WHERE d.datname = current_database()
    ) AS database_connections,
    pg_catalog.pg_notification_queue_usage() AS notify_queue;
