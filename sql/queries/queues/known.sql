-- The operator's queues, which stand under the nil user, and the tenant's own.
SELECT coalesce(array_agg(DISTINCT name), '{}') AS names
FROM signalstack.queues
WHERE user_id IN (%(user_id)s::uuid, '00000000-0000-0000-0000-000000000000');
