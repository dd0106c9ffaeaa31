-- Renew the lease; no row means that it was lost and its runs were given to others.
UPDATE signalstack.workers
SET
    heartbeat_at = clock_timestamp(),
    lease_until = clock_timestamp() + %(lease_s)s * interval '1 second'
WHERE id = %(id)s
RETURNING extract(EPOCH FROM clock_timestamp())::double precision AS at
