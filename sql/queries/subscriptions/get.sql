-- One of the tenant's own; another tenant's looks like an unknown one.
SELECT
    id, name, event_type, coalesce(filter, 'null') AS filter, job, active, created_at, updated_at
FROM signalstack.subscriptions
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid;
