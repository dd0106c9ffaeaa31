-- Hold a tenant's queue until commit. Claims of a limited queue pass it over meanwhile; settlements
-- lock job rows first and then wait here, so nothing may wait for their rows while it is held.
SELECT
    concurrency,
    rate_limit,
    rate_per_s,
    rate_burst
FROM signalstack.queues
WHERE user_id = %(user_id)s::uuid AND name = %(name)s::text
FOR UPDATE;
