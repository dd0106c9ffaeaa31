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
            'REVOKE EXECUTE ON FUNCTION %s FROM signalstack_tenant, signalstack_service', called
        );
    END LOOP;
END
$$;
