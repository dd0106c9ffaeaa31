-- A page in order of creation: ids are UUIDv7. No secret leaves by this way.
SELECT
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
    updated_at
FROM signalstack.endpoints
WHERE
    user_id = %(user_id)s::uuid
    AND (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
ORDER BY id
LIMIT %(limit)s::integer;
