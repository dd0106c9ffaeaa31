-- Forget ticks that are old, a bounded number at a time. MATERIALIZED as in dispatch/claim.sql.
WITH old AS MATERIALIZED (
    SELECT t.schedule_id, t.tick
    FROM signalstack.schedule_ticks AS t
    WHERE t.noted_at < now() - %(keep_s)s::double precision * interval '1 second'
    ORDER BY t.noted_at
    LIMIT %(limit)s::integer
    FOR UPDATE SKIP LOCKED
)

DELETE FROM signalstack.schedule_ticks AS t
USING old
WHERE t.schedule_id = old.schedule_id AND t.tick = old.tick;
