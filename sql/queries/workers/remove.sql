-- A worker that handed everything back leaves; one that did not must stay until it is rescued.
DELETE FROM signalstack.workers AS w
WHERE w.id = %(id)s
