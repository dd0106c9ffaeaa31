-- Forget idempotency keys whose time is over, a bounded number at a time.
DELETE FROM signalstack.idempotency
WHERE (user_id, route, key) IN (
    SELECT i.user_id, i.route, i.key
    FROM signalstack.idempotency AS i
    WHERE i.expires_at < now()
    ORDER BY i.expires_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
