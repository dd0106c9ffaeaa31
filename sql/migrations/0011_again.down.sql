DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('signalstack.enqueue'::regproc),
        '''signalstack_again''', '''signalstack_ready'''
    );
END
$$;
