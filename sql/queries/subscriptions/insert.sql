-- No row when the tenant has one of that name.
INSERT INTO signalstack.subscriptions (id, user_id, name, event_type, filter, job, active)
VALUES (
    %(id)s::uuid,
    %(user_id)s::uuid,
    %(name)s::text,
    %(event_type)s::text,
    %(filter)s::jsonb,
    %(job)s::jsonb,
    %(active)s::boolean
)
ON CONFLICT (user_id, name) DO NOTHING
RETURNING
    id, name, event_type, coalesce(filter, 'null') AS filter, job, active, created_at, updated_at;
