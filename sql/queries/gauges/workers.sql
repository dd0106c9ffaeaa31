-- How many workers there are whose lease holds, and whose lease is over for longer than it takes to
-- rescue their jobs (half a second, see Maintenance); and the time of reading.
SELECT
    count(*) FILTER (WHERE w.lease_until > clock_timestamp()) AS alive,
    count(*) FILTER (WHERE w.lease_until <= clock_timestamp() - interval '1 second') AS stale,
    extract(EPOCH FROM clock_timestamp())::double precision AS at
FROM signalstack.workers AS w;
