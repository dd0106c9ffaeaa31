-- Newest first by the primary key alone: the ids' bounds, which are always given, prune partitions
-- and begin the page; times of the database's own clock then decide.
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
    AND id > %(first)s::uuid
    AND id < %(last)s::uuid
    AND created_at >= coalesce(%(created_after)s::timestamptz, '-infinity')
    AND created_at < coalesce(%(created_before)s::timestamptz, 'infinity')
ORDER BY id DESC
LIMIT %(limit)s::integer;
