-- How many workers there are whose lease holds, and whose lease is over; and the time of reading.
SELECT
    count(*) FILTER (WHERE w.lease_until > clock_timestamp()) AS alive,
    count(*) FILTER (WHERE w.lease_until <= clock_timestamp()) AS stale,
    extract(EPOCH FROM clock_timestamp())::double precision AS at
FROM signalstack.workers AS w;
