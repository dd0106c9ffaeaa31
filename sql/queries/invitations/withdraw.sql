-- Withdraw a worker's invitation, which waits for whoever takes it just now: what was taken before
-- is committed then. Its token comes back if it was open.
DELETE FROM signalstack.invitations AS i
WHERE i.worker_id = $1::uuid
RETURNING i.token
