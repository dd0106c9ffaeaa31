-- How many queues the tenant has made its own.
SELECT count(*) AS queues
FROM signalstack.queues
WHERE user_id = %(user_id)s::uuid;
