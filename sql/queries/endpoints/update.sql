-- Null leaves a column as it is; `rate`, which may become null, has a switch of its own. Who
-- switches an endpoint on again has seen to what was wrong: the account of failures begins anew.
UPDATE signalstack.endpoints
SET
    name = coalesce(%(name)s::text, name),
    url = coalesce(%(url)s::text, url),
    headers = coalesce(%(headers)s::jsonb, headers),
    rate = CASE WHEN %(set_rate)s::boolean THEN %(rate)s::jsonb ELSE rate END,
    active = coalesce(%(active)s::boolean, active),
    disabled_reason = CASE WHEN %(active)s::boolean THEN null ELSE disabled_reason END,
    failing_since = CASE WHEN %(active)s::boolean THEN null ELSE failing_since END,
    failures = CASE WHEN %(active)s::boolean THEN 0 ELSE failures END,
    failed_at = CASE WHEN %(active)s::boolean THEN null ELSE failed_at END,
    updated_at = now()
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid
RETURNING
    id,
    name,
    url,
    headers,
    coalesce(rate, 'null') AS rate,
    active,
    disabled_reason,
    failing_since,
    created_at,
    updated_at;
