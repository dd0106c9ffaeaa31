-- The tokens of a worker's seats that nobody has taken.
SELECT i.token
FROM signalstack.invitations AS i
WHERE i.worker_id = $1::uuid AND i.token IS NOT NULL
