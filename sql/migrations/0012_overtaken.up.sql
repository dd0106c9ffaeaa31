-- Who takes an invitation looks again at all jobs that wait: with a lower bound the planner reads
-- the primary key and sorts, and beside dead rows nobody invites any more. The column `since` stays
-- for workers of the build before, which write it until they are replaced.
DO $$
DECLARE
    taking text := pg_get_functiondef('signalstack.take_invitation'::regproc);
BEGIN
    taking := replace(taking, 'i.token, i.channel, i.since', 'i.token, i.channel');
    EXECUTE replace(
        taking, 'j.user_id = tenant AND j.id >= found_one.since', 'j.user_id = tenant'
    );
END
$$;
