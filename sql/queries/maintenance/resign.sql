-- Give the lease up, and tell those who stand by, so that none of them waits for its end.
WITH resigned AS (
    UPDATE signalstack.leaders
    SET lease_until = clock_timestamp()
    WHERE name = 'maintenance' AND holder = %(holder)s
    RETURNING name
)

SELECT count(pg_notify('signalstack_vacant', '')) AS bells FROM resigned
