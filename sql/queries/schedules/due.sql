-- What is due, longest first, with what decides whether its job can be made. Nothing is locked:
-- what is decided on by this is written only where it still holds (tick.sql).
SELECT
    s.id, s.name, s.cron, s.timezone, s.misfire, s.job, s.paused, s.anchor, s.next_tick,
    s.last_tick, s.last_job_id, s.last_error, s.created_at, s.updated_at, clock_timestamp() AS now,
    u.suspended_at IS NOT NULL AS suspended,
    queue.found AS queue_exists
FROM signalstack.schedules AS s
INNER JOIN signalstack.users AS u ON s.user_id = u.id
CROSS JOIN LATERAL (
    SELECT count(*) > 0 AS found
    FROM signalstack.queues AS q
    -- The operator's queues stand under the nil user.
    WHERE
        q.user_id IN (s.user_id, '00000000-0000-0000-0000-000000000000')
        AND q.name = s.job ->> 'queue'
) AS queue
WHERE s.next_tick <= now()
ORDER BY s.next_tick
LIMIT %(limit)s::integer;
