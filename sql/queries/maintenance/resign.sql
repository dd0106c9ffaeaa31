-- Give the lease up, so that the next leader need not wait for its end.
UPDATE signalstack.leaders
SET lease_until = clock_timestamp()
WHERE name = 'maintenance' AND holder = %(holder)s
