-- A page in order of creation: ids are UUIDv7. Sorting a tenant's own is bounded by their limit.
SELECT
    id, name, cron, timezone, misfire, job, paused, anchor, next_tick, last_tick, last_job_id,
    last_error, created_at, updated_at, clock_timestamp() AS now
FROM signalstack.schedules
WHERE
    user_id = %(user_id)s::uuid
    AND (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
ORDER BY id
LIMIT %(limit)s::integer;
