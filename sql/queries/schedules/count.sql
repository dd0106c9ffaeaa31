-- Exact only under the lock that hold_tenant takes.
SELECT count(*) AS count
FROM signalstack.schedules
WHERE user_id = %(user_id)s::uuid;
