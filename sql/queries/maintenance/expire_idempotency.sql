-- Forget idempotency keys whose time is over, a bounded number at a time. MATERIALIZED as in
-- dispatch/claim.sql: a locking subquery that ran twice would pass its limit.
WITH over AS MATERIALIZED (
    SELECT i.user_id, i.route, i.key
    FROM signalstack.idempotency AS i
    WHERE i.expires_at < now()
    ORDER BY i.expires_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)

DELETE FROM signalstack.idempotency AS i
USING over
WHERE i.user_id = over.user_id AND i.route = over.route AND i.key = over.key
