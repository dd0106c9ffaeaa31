-- The tenant's keys go with it; its queues were opened for it alone.
WITH queue AS (
    DELETE FROM signalstack.queues AS q
    WHERE q.name = ANY(%(queues)s)
)

DELETE FROM signalstack.users AS u
WHERE u.id = %(user_id)s
