-- Whether the role that logged in may act for tenants, and whether it sees the rows of all of them
-- itself: as the owner, or as a member of signalstack_service. Null where the schema or a role of
-- ours is missing. And whether the walls stand, which a restore leaves out where the roles are
-- missing: a policy on each table that asks for one, and what tenants were granted. Null where
-- there are none yet.
SELECT
    current_user::text AS role,
    pg_has_role(
        to_regrole('signalstack_tenant')::oid,
        CASE
            WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET'
            ELSE 'MEMBER'
        END
    ) AS acts_for_tenants,
    NOT row_security_active(to_regclass('signalstack.jobs')::oid)
    OR pg_has_role(to_regrole('signalstack_service')::oid, 'USAGE') AS sees_all,
    (
        SELECT
            bool_and(EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid))
            AND coalesce(
                has_schema_privilege(
                    to_regrole('signalstack_tenant')::oid, c.relnamespace, 'USAGE'
                ), false
            )
            AND coalesce(
                has_table_privilege(
                    to_regrole('signalstack_tenant')::oid,
                    to_regclass('signalstack.jobs')::oid,
                    'SELECT'
                ), false
            )
        FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace('signalstack')::oid AND c.relrowsecurity
        GROUP BY c.relnamespace
    ) AS walled;
