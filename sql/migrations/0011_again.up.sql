-- What `signalstack.enqueue` stores is as old as the call, and seen when its caller commits: its
-- bell is that of older jobs, beside which a worker may have looked at new ones alone.
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('signalstack.enqueue'::regproc),
        '''signalstack_ready''', '''signalstack_again'''
    );
END
$$;
