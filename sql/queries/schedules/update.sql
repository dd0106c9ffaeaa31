-- Guarded by the tenant, under the lock that hold takes. A new `updated_at` tells ticks that were
-- decided on by what it said before.
UPDATE signalstack.schedules
SET
    name = %(name)s::text,
    cron = %(cron)s::text,
    timezone = %(timezone)s::text,
    misfire = %(misfire)s::text,
    job = %(job)s::jsonb,
    paused = %(paused)s::boolean,
    anchor = %(anchor)s::timestamptz,
    next_tick = %(next_tick)s::timestamptz,
    updated_at = clock_timestamp()
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid
RETURNING
    id, name, cron, timezone, misfire, job, paused, anchor, next_tick, last_tick, last_job_id,
    last_error, created_at, updated_at, clock_timestamp() AS now;
