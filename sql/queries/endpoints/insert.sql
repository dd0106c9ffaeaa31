-- No row when the tenant has one of that name. A rate is kept as it was asked for; wherever it is
-- shown, it has the burst that holds.
INSERT INTO signalstack.endpoints (id, user_id, name, url, headers, rate, active, secret)
VALUES (
    %(id)s::uuid,
    %(user_id)s::uuid,
    %(name)s::text,
    %(url)s::text,
    %(headers)s::jsonb,
    %(rate)s::jsonb,
    %(active)s::boolean,
    %(secret)s::text
)
ON CONFLICT (user_id, name) DO NOTHING
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
    updated_at;
