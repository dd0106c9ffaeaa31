-- No row when the tenant has one of that name.
INSERT INTO signalstack.schedules (
    id, user_id, name, cron, timezone, misfire, job, anchor, next_tick, created_at, updated_at
)
VALUES (
    %(id)s::uuid,
    %(user_id)s::uuid,
    %(name)s::text,
    %(cron)s::text,
    %(timezone)s::text,
    %(misfire)s::text,
    %(job)s::jsonb,
    %(now)s::timestamptz,
    %(next_tick)s::timestamptz,
    %(now)s::timestamptz,
    %(now)s::timestamptz
)
ON CONFLICT (user_id, name) DO NOTHING
RETURNING
    id, name, cron, timezone, misfire, job, paused, anchor, next_tick, last_tick, last_job_id,
    last_error, created_at, updated_at, clock_timestamp() AS now;
