-- One of the tenant's own; another tenant's looks like an unknown one. No secret leaves here.
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
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid;
