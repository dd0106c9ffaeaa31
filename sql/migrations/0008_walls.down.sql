-- The roles stay: other databases of the server may use them.
DO $$
DECLARE
    walled record;
BEGIN
    FOR walled IN
        SELECT p.tablename, p.policyname
        FROM pg_catalog.pg_policies AS p
        WHERE p.schemaname = 'signalstack'
    LOOP
        EXECUTE format('DROP POLICY %I ON signalstack.%I', walled.policyname, walled.tablename);
        EXECUTE format('ALTER TABLE signalstack.%I DISABLE ROW LEVEL SECURITY', walled.tablename);
    END LOOP;
END
$$;
DROP FUNCTION signalstack.tenant();
REVOKE ALL ON ALL TABLES IN SCHEMA signalstack FROM signalstack_tenant;
REVOKE USAGE ON SCHEMA signalstack FROM signalstack_tenant;
