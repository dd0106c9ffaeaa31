-- Only the hash of the secret is kept.
INSERT INTO signalstack.api_keys (id, user_id, secret_sha256, scopes, expires_at)
VALUES (
    %(id)s::text,
    %(user_id)s::uuid,
    %(secret_sha256)s::bytea,
    %(scopes)s::text[],
    %(expires_at)s::timestamptz
)
RETURNING id, %(user_name)s::text AS user_name, scopes, created_at, expires_at, revoked_at;
