-- Make one day's partition of one table; see the function for what becomes of rows of that day. It
-- is made as the table's owner, of whom the caller may be a member: what were the caller's own, no
-- other member could look through, and no migration change.
WITH owner AS MATERIALIZED (
    SELECT set_config('role', pg_get_userbyid(c.relowner), true) AS role
    FROM pg_class AS c
    WHERE
        c.oid = to_regclass('signalstack.' || %(parent)s::text)
        AND pg_has_role(
            c.relowner,
            CASE
                WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET'
                ELSE 'MEMBER'
            END
        )
)

SELECT signalstack.make_partition(%(parent)s::text, %(day)s::text::date) AS made
FROM (SELECT count(owner.role) AS roles FROM owner) AS acting;
