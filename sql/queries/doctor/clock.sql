-- The time over there, now and not at the beginning of the transaction.
SELECT extract(EPOCH FROM clock_timestamp())::double precision AS now;
