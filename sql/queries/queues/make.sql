-- Make a queue the tenant's own, as yet without limits.
INSERT INTO signalstack.queues (user_id, name)
VALUES (%(user_id)s::uuid, %(name)s::text)
ON CONFLICT (user_id, name) DO NOTHING;
