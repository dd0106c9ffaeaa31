-- What the role lacks on each of our tables. Partitions are reached through their parents, and only
-- a member of a parent's owner may make more of them.
SELECT
    c.relname::text AS name,
    array(
        SELECT p.name
        FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (name)
        WHERE
            NOT has_table_privilege(c.oid, p.name)
            -- Who serves only reads which migrations there are.
            AND (c.relname <> 'migrations' OR p.name = 'SELECT')
    ) AS missing,
    (c.relkind = 'p' AND NOT pg_has_role(c.relowner, 'USAGE')) AS unowned
FROM pg_catalog.pg_class AS c
WHERE
    c.relnamespace = to_regnamespace('signalstack')
    AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition
ORDER BY c.relname;
