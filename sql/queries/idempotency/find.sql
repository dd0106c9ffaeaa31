-- Whether what a key stands for is stored already. A hint alone, asked before work that takes
-- long: who stores it meanwhile is found by the insert.
SELECT
    fingerprint,
    ref
FROM signalstack.idempotency
WHERE
    user_id = %(user_id)s::uuid
    AND route = %(route)s
    AND key = %(key)s
    AND expires_at > now();
