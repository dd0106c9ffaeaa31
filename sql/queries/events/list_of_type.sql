-- Like events/list, by the index that leads with the type: one statement for both would get a plan
-- that fits neither.
SELECT
    id,
    type,
    payload,
    source,
    subject,
    external_id,
    occurred_at,
    coalesce(extensions, 'null') AS extensions,
    created_at
FROM signalstack.events
WHERE
    user_id = %(user_id)s::uuid
    AND type = %(type)s::text
    AND id > %(first)s::uuid
    AND id < %(last)s::uuid
    AND created_at >= coalesce(%(created_after)s::timestamptz, '-infinity')
    AND created_at < coalesce(%(created_before)s::timestamptz, 'infinity')
ORDER BY id DESC
LIMIT %(limit)s::integer;
