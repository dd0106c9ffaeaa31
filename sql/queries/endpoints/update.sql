-- Null leaves a column as it is; `rate`, which may become null, has a switch of its own: a new one
-- begins with a full bucket. Who switches an endpoint on again has seen to what was wrong: the
-- account of failures begins anew, as it does with another URL: what was there failed, not this. A
-- receiver's "later" is forgotten likewise.
UPDATE signalstack.endpoints
SET
    name = coalesce(%(name)s::text, name),
    url = coalesce(%(url)s::text, url),
    headers = coalesce(%(headers)s::jsonb, headers),
    rate = CASE WHEN %(set_rate)s::boolean THEN %(rate)s::jsonb ELSE rate END,
    bucket_full_at = CASE WHEN NOT %(set_rate)s THEN bucket_full_at END,
    next_slot_at = CASE WHEN NOT %(set_rate)s THEN next_slot_at END,
    held_until
    = CASE WHEN %(active)s::boolean OR %(url)s::text <> url THEN null ELSE held_until END,
    active = coalesce(%(active)s::boolean, active),
    disabled_reason = CASE WHEN %(active)s::boolean THEN null ELSE disabled_reason END,
    failing_since = CASE
        WHEN %(active)s::boolean OR %(url)s::text <> url THEN null
        ELSE failing_since
    END,
    failures = CASE WHEN %(active)s::boolean OR %(url)s::text <> url THEN 0 ELSE failures END,
    failed_at
    = CASE WHEN %(active)s::boolean OR %(url)s::text <> url THEN null ELSE failed_at END,
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
    updated_at;
