-- The size and the rows of each of our tables, partitions counted with their parents; from the
-- statistics and the file system alone.
SELECT
    coalesce(p.relname, c.relname)::text AS name,
    sum(pg_catalog.pg_total_relation_size(c.oid))::bigint AS bytes,
    coalesce(sum(s.n_live_tup), 0)::bigint AS live,
    coalesce(sum(s.n_dead_tup), 0)::bigint AS dead
FROM pg_catalog.pg_class AS c
LEFT JOIN pg_catalog.pg_inherits AS i ON c.oid = i.inhrelid
LEFT JOIN pg_catalog.pg_class AS p ON i.inhparent = p.oid
LEFT JOIN pg_catalog.pg_stat_user_tables AS s ON c.oid = s.relid
WHERE c.relnamespace = to_regnamespace('signalstack') AND c.relkind = 'r'
GROUP BY coalesce(p.relname, c.relname)
ORDER BY coalesce(p.relname, c.relname);
