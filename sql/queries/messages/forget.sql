-- Forget messages whose story ended, a batch at a time. Age alone is in no index: each tenant's
-- oldest of each status are found by the one that begins with both, in so many probes and no more.
-- Guarded by status, under a lock: one that waits, or does so again, is kept however old. They stay
-- counted.
WITH over AS MATERIALIZED (
    SELECT old.user_id, old.id
    FROM signalstack.users AS u
    CROSS JOIN unnest(ARRAY['sent', 'failed', 'cancelled']) AS ended (status)
    CROSS JOIN LATERAL (
        SELECT m.user_id, m.id
        FROM signalstack.messages AS m
        WHERE
            m.user_id = u.id
            AND m.status = ended.status
            AND m.id
            < signalstack.uuid_floor(now() - %(keep_s)s::double precision * interval '1 second')
        ORDER BY m.id
        LIMIT %(limit)s::integer
        FOR UPDATE SKIP LOCKED
    ) AS old
    LIMIT %(limit)s::integer
)

DELETE FROM signalstack.messages AS m
USING over
WHERE m.user_id = over.user_id AND m.id = over.id;
