-- Null leaves a column as it is; `filter`, which may become null, has a switch of its own. Goes
-- under the lock that bump_subscriptions_version takes.
UPDATE signalstack.subscriptions
SET
    name = coalesce(%(name)s::text, name),
    event_type = coalesce(%(event_type)s::text, event_type),
    filter = CASE WHEN %(set_filter)s::boolean THEN %(filter)s::jsonb ELSE filter END,
    job = coalesce(%(job)s::jsonb, job),
    active = coalesce(%(active)s::boolean, active),
    updated_at = now()
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid
RETURNING
    id, name, event_type, coalesce(filter, 'null') AS filter, job, active, created_at, updated_at;
