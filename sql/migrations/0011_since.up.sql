-- While an open transaction keeps dead rows from being removed, who takes an invitation looks for
-- jobs that wait at new ids alone: who invited found nothing else (`since`).
ALTER TABLE signalstack.invitations
ADD COLUMN since uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';

DO $$
DECLARE
    taking text := pg_get_functiondef('signalstack.take_invitation'::regproc);
BEGIN
    taking := replace(taking, 'i.token, i.channel', 'i.token, i.channel, i.since');
    EXECUTE replace(
        taking, 'j.user_id = tenant', 'j.user_id = tenant AND j.id >= found_one.since'
    );
END
$$;

-- What `signalstack.enqueue` stores is as old as the call, and seen when its caller commits.
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('signalstack.enqueue'::regproc),
        '''signalstack_ready''', '''signalstack_again'''
    );
END
$$;
