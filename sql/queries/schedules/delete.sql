-- Guarded by the tenant.
DELETE FROM signalstack.schedules
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid;
