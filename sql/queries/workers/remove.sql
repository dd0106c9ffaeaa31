-- A worker that handed everything back leaves; one that did not must stay until it is rescued.
WITH uninvited AS (
    DELETE FROM signalstack.invitations AS i
    WHERE i.worker_id = %(id)s
)

DELETE FROM signalstack.workers AS w
WHERE w.id = %(id)s
