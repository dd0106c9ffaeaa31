-- Whether the role that logged in may act for tenants, and whether it sees the rows of all of them
-- itself: as the owner, or as a member of signalstack_service. Null where the schema or a role of
-- ours is missing.
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
    OR pg_has_role(to_regrole('signalstack_service')::oid, 'USAGE') AS sees_all;
