-- Close a worker's seats; those that come back had not been taken. Waits for whoever takes one now.
DELETE FROM signalstack.invitations AS i
WHERE i.worker_id = $1::uuid
RETURNING i.token
