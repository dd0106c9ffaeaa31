-- Invite: open a worker's invitation with the lease token that its next run will have. One that was
-- given up for dead must not. If it is open already its old token is no good any more.
INSERT INTO signalstack.invitations AS i (worker_id, channel, queues, lock_key, token)
SELECT w.id, $2::text, $3::text[], $4::bigint, $5::bigint
FROM signalstack.workers AS w
WHERE w.id = $1::uuid
ON CONFLICT (worker_id) DO UPDATE SET
    channel = excluded.channel,
    queues = excluded.queues,
    lock_key = excluded.lock_key,
    token = excluded.token
