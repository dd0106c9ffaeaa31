-- A second wall between tenants, behind the WHERE of each query: what is read or changed on a
-- tenant's behalf is done as the role signalstack_tenant, which sees the rows of one tenant.

-- Roles belong to the whole server. Who migrates may lack the right to make them; they are then
-- made once by somebody who has it, and this runs again.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['signalstack_tenant', 'signalstack_service'] LOOP
        CONTINUE WHEN to_regrole(wanted) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server is migrated at the same time
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION
                    'the role % may not make roles: as an administrator of the server, run CREATE ROLE signalstack_tenant NOLOGIN; CREATE ROLE signalstack_service NOLOGIN; GRANT signalstack_tenant TO %',
                    current_user, quote_ident(current_user)
                    USING ERRCODE = 'insufficient_privilege';
        END;
    END LOOP;
END
$$;

-- Who migrates mostly serves too, and then has to act for tenants. Where that cannot be granted
-- here, `signalstack doctor` and the processes say so.
DO $$
BEGIN
    IF NOT pg_has_role(
        'signalstack_tenant',
        CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END
    ) THEN
        GRANT signalstack_tenant TO CURRENT_USER;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        NULL;
END
$$;

-- Null, and so no rows at all, for a transaction that is bound to nobody. After a transaction has
-- set it, a session has the empty text left.
CREATE FUNCTION signalstack.tenant() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('signalstack.user_id', true), '')::uuid;

-- No right on partitions: they are reached through their parents, whose policies then hold.
GRANT USAGE ON SCHEMA signalstack TO signalstack_tenant;
GRANT SELECT (id, subscriptions_version), UPDATE (subscriptions_version)
ON signalstack.users TO signalstack_tenant;
GRANT SELECT
ON signalstack.events, signalstack.message_tallies, signalstack.metrics_hourly
TO signalstack_tenant;
GRANT SELECT, INSERT
ON signalstack.attempts, signalstack.message_deltas, signalstack.metrics_delta
TO signalstack_tenant;
GRANT SELECT, INSERT, UPDATE
ON signalstack.messages, signalstack.queues
TO signalstack_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE
ON
signalstack.endpoints, signalstack.finished_jobs, signalstack.jobs, signalstack.schedules,
signalstack.subscriptions
TO signalstack_tenant;

-- Owners of the tables pass by policies. Login roles that are not need signalstack_service, which
-- opens the rows of all tenants; which tables they may touch is granted to each of them.
DO $$
DECLARE
    of_tenants name;
BEGIN
    FOR of_tenants IN
        SELECT c.relname
        FROM pg_catalog.pg_class AS c
        INNER JOIN pg_catalog.pg_attribute AS a ON c.oid = a.attrelid
        WHERE
            c.relnamespace = 'signalstack'::regnamespace
            AND c.relkind IN ('r', 'p')
            AND NOT c.relispartition
            AND (a.attname = 'user_id' OR (c.relname = 'users' AND a.attname = 'id'))
    LOOP
        EXECUTE format('ALTER TABLE signalstack.%I ENABLE ROW LEVEL SECURITY', of_tenants);
        EXECUTE format(
            'CREATE POLICY service ON signalstack.%I TO signalstack_service USING (true)', of_tenants
        );
        IF has_any_column_privilege(
            'signalstack_tenant', format('signalstack.%I', of_tenants), 'SELECT'
        ) THEN
            EXECUTE format(
                'CREATE POLICY tenant ON signalstack.%I TO signalstack_tenant USING (%I = signalstack.tenant())',
                of_tenants, CASE of_tenants WHEN 'users' THEN 'id' ELSE 'user_id' END
            );
        END IF;
    END LOOP;
END
$$;

-- The operator's queues, under the nil user, are everybody's to see.
CREATE POLICY tenant_looks ON signalstack.queues FOR SELECT TO signalstack_tenant
USING (user_id = '00000000-0000-0000-0000-000000000000');
