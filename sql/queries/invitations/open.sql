-- Open seats of a worker, each with the lease token that its run will have. One that was given up
-- for dead must not invite. A seat that is open already gets another token: its old one is no good.
INSERT INTO signalstack.invitations AS i (worker_id, seat, channel, queues, lock_key, token)
SELECT w.id, o.seat, $2::text, $3::text[], $4::bigint, o.token
FROM unnest($5::smallint[], $6::bigint[]) AS o (seat, token)
INNER JOIN signalstack.workers AS w ON w.id = $1::uuid
ON CONFLICT (worker_id, seat) DO UPDATE SET
    channel = excluded.channel,
    queues = excluded.queues,
    lock_key = excluded.lock_key,
    token = excluded.token
