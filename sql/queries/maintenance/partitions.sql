-- The partitions that there are, also those that were detached and not dropped yet; how long ago
-- their day began (null for the default ones). Jobs before attempts, which go with them.
SELECT
    part.parent,
    part.child,
    i.inhrelid IS NOT NULL AS attached,
    CASE
        WHEN part.day <> 'default'
            THEN extract(
                EPOCH FROM now() - to_date(part.day, 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC'
            )::double precision
    END AS age_s,
    pg_catalog.pg_relation_size(c.oid)
    / current_setting('block_size')::integer AS blocks,
    greatest(c.reltuples, 0)::bigint AS estimate
FROM pg_catalog.pg_class AS c
CROSS JOIN LATERAL (
    SELECT
        c.relname::text AS child,
        substring(c.relname FROM '^(.*)_[^_]*$') AS parent,
        substring(c.relname FROM '[^_]*$') AS day
) AS part
LEFT JOIN pg_catalog.pg_inherits AS i ON c.oid = i.inhrelid
WHERE
    c.relnamespace = to_regnamespace('signalstack')
    AND c.relkind = 'r'
    AND c.relname ~ '^(events|finished_jobs|attempts)_([0-9]{8}|default)$'
ORDER BY part.parent DESC, part.day;
