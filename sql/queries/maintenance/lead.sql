-- Take or renew the lease of the maintenance leader, unless another one holds it (then no term, but
-- the seconds after which it ends). It also tells when the next worker's lease would end, so that
-- rescue needs no polling.
WITH led AS (
    INSERT INTO signalstack.leaders AS l (name, holder, term, lease_until)
    VALUES (
        'maintenance', %(holder)s, 1, clock_timestamp() + %(lease_s)s * interval '1 second'
    )
    ON CONFLICT (name) DO UPDATE SET
        holder = excluded.holder,
        term = l.term + CASE WHEN l.holder = excluded.holder THEN 0 ELSE 1 END,
        lease_until = excluded.lease_until
    WHERE l.holder = excluded.holder OR l.lease_until < clock_timestamp()
    RETURNING l.term
)

SELECT
    (SELECT led.term FROM led) AS term,
    (
        SELECT extract(EPOCH FROM l.lease_until - clock_timestamp())::double precision
        FROM signalstack.leaders AS l
        WHERE l.name = 'maintenance' AND NOT EXISTS (SELECT FROM led)
    ) AS lease_left_s,
    (
        SELECT extract(EPOCH FROM min(w.lease_until) - clock_timestamp())::double precision
        FROM signalstack.workers AS w
    ) AS next_end_s
