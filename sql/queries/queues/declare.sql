-- The operator declares queues by having workers serve them.
INSERT INTO signalstack.queues (user_id, name)
SELECT
    '00000000-0000-0000-0000-000000000000'::uuid AS user_id,
    wanted.name
FROM unnest(%(names)s::text[]) AS wanted (name)
ORDER BY wanted.name
ON CONFLICT (user_id, name) DO NOTHING;
