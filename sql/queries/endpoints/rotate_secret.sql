-- The secret before the last one ends here, whatever time it had left: two are valid at most.
UPDATE signalstack.endpoints
SET
    secret = %(secret)s::text,
    previous_secret = CASE WHEN %(overlap_s)s::float8 > 0 THEN secret END,
    previous_secret_until = CASE
        WHEN %(overlap_s)s::float8 > 0
            THEN now() + make_interval(secs => %(overlap_s)s::float8)
    END,
    updated_at = now()
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid
RETURNING
    id,
    name,
    url,
    headers,
    coalesce(
        jsonb_build_object('burst', rate -> 'limit') || jsonb_strip_nulls(rate), 'null'
    ) AS rate,
    active,
    disabled_reason,
    failing_since,
    held_until,
    created_at,
    updated_at,
    secret,
    previous_secret_until;
