-- Close a worker's invitation, unless somebody takes it just now; its token comes back if it was
-- open. No lock is waited for: claims come over the same connection.
WITH mine AS MATERIALIZED (
    SELECT i.worker_id, i.token
    FROM signalstack.invitations AS i
    WHERE i.worker_id = $1::uuid AND i.token IS NOT NULL
    FOR UPDATE SKIP LOCKED
),

closed AS (
    UPDATE signalstack.invitations AS i
    SET token = NULL
    FROM mine
    WHERE i.worker_id = mine.worker_id
)

SELECT mine.token FROM mine
