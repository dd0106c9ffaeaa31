-- The token of a worker's invitation, while nobody has taken it.
SELECT i.token
FROM signalstack.invitations AS i
WHERE i.worker_id = $1::uuid AND i.token IS NOT NULL
