-- For the operator, who sees every tenant or, when named, one.
SELECT
    key.id,
    tenant.name AS user_name,
    key.scopes,
    key.created_at,
    key.expires_at,
    key.revoked_at
FROM signalstack.api_keys AS key
INNER JOIN signalstack.users AS tenant ON key.user_id = tenant.id
WHERE %(user_name)s::text IS NULL OR tenant.name = %(user_name)s::text
ORDER BY tenant.name, key.created_at, key.id;
