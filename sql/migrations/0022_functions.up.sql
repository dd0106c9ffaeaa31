-- What policies, statements and triggers call for tenants and the API. Usually everybody may, but
-- a database may let nobody (ALTER DEFAULT PRIVILEGES … REVOKE): there every request was refused.
-- Functions with their owner's rights have grants of their own.
DO $$
DECLARE
    called regprocedure;
BEGIN
    FOR called IN
        SELECT p.oid
        FROM pg_proc AS p
        WHERE p.pronamespace = 'signalstack'::regnamespace AND NOT p.prosecdef
    LOOP
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION %s TO signalstack_tenant, signalstack_service', called
        );
    END LOOP;
END
$$;
