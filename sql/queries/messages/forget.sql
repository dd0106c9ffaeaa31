-- Forget messages whose story ended long ago, a batch at a time, oldest first. Guarded by status:
-- one that waits is kept however old. They stay counted.
DELETE FROM signalstack.messages AS m
USING (
    SELECT old.user_id, old.id
    FROM signalstack.messages AS old
    WHERE old.id < %(below)s::uuid AND old.status <> 'pending'
    LIMIT %(limit)s::integer
    FOR UPDATE SKIP LOCKED
) AS over
WHERE m.user_id = over.user_id AND m.id = over.id;
