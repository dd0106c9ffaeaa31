-- One of the tenant's own; another tenant's looks like an unknown one.
SELECT
    id, name, cron, timezone, misfire, job, paused, anchor, next_tick, last_tick, last_job_id,
    last_error, created_at, updated_at, clock_timestamp() AS now
FROM signalstack.schedules
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid;
