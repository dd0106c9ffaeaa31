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
