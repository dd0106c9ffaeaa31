DO $$
DECLARE
    taking text := pg_get_functiondef('signalstack.take_invitation'::regproc);
BEGIN
    taking := replace(taking, 'i.token, i.channel, i.since', 'i.token, i.channel');
    EXECUTE replace(
        taking, 'j.user_id = tenant AND j.id >= found_one.since', 'j.user_id = tenant'
    );
    EXECUTE replace(
        pg_get_functiondef('signalstack.enqueue'::regproc),
        '''signalstack_again''', '''signalstack_ready'''
    );
END
$$;

ALTER TABLE signalstack.invitations DROP COLUMN since;
