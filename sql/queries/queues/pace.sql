-- How a queue's starting and stopping stands for a tenant (its own row, if it has one, and the
-- operator's), what the operator allows, and in how many seconds the next job may start.
SELECT
    coalesce(own.paused, false) OR whole.paused AS paused,
    greatest(own.turned_at, whole.turned_at) AS since,
    whole.concurrency,
    whole.rate_limit,
    whole.rate_per_s,
    whole.rate_burst,
    clock_timestamp() AS read_at,
    coalesce(greatest(
        (1 - whole.tokens) * whole.rate_per_s / whole.rate_limit
        - extract(EPOCH FROM clock_timestamp() - whole.refilled_at),
        0
    ), 0)::double precision AS wait_s
FROM signalstack.queues AS whole
LEFT JOIN signalstack.queues AS own
    ON own.user_id = %(user_id)s::uuid AND whole.name = own.name
WHERE whole.user_id = '00000000-0000-0000-0000-000000000000' AND whole.name = %(name)s::text;
