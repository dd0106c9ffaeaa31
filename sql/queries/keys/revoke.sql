-- For the operator. A second time changes nothing: the first moment is the one to keep.
UPDATE signalstack.api_keys AS key
SET revoked_at = coalesce(key.revoked_at, now())
FROM signalstack.users AS tenant
WHERE key.id = %(id)s::text AND tenant.id = key.user_id
RETURNING
    key.id,
    tenant.name AS user_name,
    key.scopes,
    key.created_at,
    key.expires_at,
    key.revoked_at;
