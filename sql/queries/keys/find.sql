-- What authentication must know of a key; the database's clock says how long it is still good.
SELECT
    key.user_id,
    key.secret_sha256,
    key.scopes,
    key.revoked_at IS NOT NULL AS revoked,
    tenant.suspended_at IS NOT NULL AS suspended,
    extract(EPOCH FROM key.expires_at - now())::double precision AS expires_in_s
FROM signalstack.api_keys AS key
INNER JOIN signalstack.users AS tenant ON key.user_id = tenant.id
WHERE key.id = %(id)s::text;
