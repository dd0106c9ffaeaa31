-- A page in order of creation: ids are UUIDv7. Sorting a tenant's own is bounded by their limit.
SELECT
    id, name, event_type, coalesce(filter, 'null') AS filter, job, active, created_at, updated_at
FROM signalstack.subscriptions
WHERE
    user_id = %(user_id)s::uuid
    AND (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
ORDER BY id
LIMIT %(limit)s::integer;
