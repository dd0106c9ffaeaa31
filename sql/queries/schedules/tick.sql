-- Deal with ticks: their rows, jobs, counts and doorbells in one statement: all of it or nothing.
-- Each is guarded twice. The schedule must still wait for the tick that was found due, and say what
-- it said (`updated_at`): another leader, or its owner, may have been faster. And the tick must not
-- have a row yet. Rows that somebody else holds are left for the next time.
WITH held AS MATERIALIZED (
    SELECT n.*, s.user_id
    FROM unnest(
        %(ids)s::uuid[], %(due)s::timestamptz[], %(updated)s::timestamptz[],
        %(ticks)s::timestamptz[], %(next_ticks)s::timestamptz[], %(outcomes)s::text[],
        %(passed)s::integer[], %(errors)s::text[], %(jobs)s::uuid[], %(types)s::text[],
        %(queues)s::text[], %(priorities)s::smallint[], %(max_attempts)s::integer[],
        %(timeouts)s::double precision[], %(keys)s::text[], %(traceparents)s::text[],
        %(payloads)s::text[]
    ) AS n (
        id, due, updated_at, tick, next_tick, outcome, passed, error, job_id, type, queue, priority,
        max_attempts, timeout_s, idempotency_key, traceparent, payload
    )
    INNER JOIN signalstack.schedules AS s
        ON n.id = s.id AND n.due = s.next_tick AND n.updated_at = s.updated_at
    ORDER BY s.id
    FOR UPDATE OF s SKIP LOCKED
),

ticked AS (
    INSERT INTO signalstack.schedule_ticks (schedule_id, tick, outcome, passed, job_id)
    SELECT held.id, held.tick, held.outcome, held.passed, held.job_id
    FROM held
    ON CONFLICT (schedule_id, tick) DO NOTHING
    RETURNING schedule_id
),

job AS (
    INSERT INTO signalstack.jobs (
        user_id, id, type, queue, priority, delayed, max_attempts, timeout_s, run_at,
        idempotency_key, traceparent, payload
    )
    SELECT
        held.user_id,
        held.job_id,
        held.type,
        held.queue,
        held.priority,
        false,
        held.max_attempts,
        held.timeout_s,
        now(),
        held.idempotency_key,
        held.traceparent,
        held.payload::jsonb
    FROM held
    INNER JOIN ticked ON held.id = ticked.schedule_id
    WHERE held.outcome = 'enqueued'
    RETURNING user_id, queue
),

moved AS (
    UPDATE signalstack.schedules AS s
    SET
        next_tick = held.next_tick,
        last_tick = CASE WHEN held.is_new THEN held.tick ELSE s.last_tick END,
        last_job_id = CASE
            WHEN held.is_new AND held.outcome = 'enqueued' THEN held.job_id ELSE s.last_job_id
        END,
        last_error = CASE WHEN held.is_new THEN held.error ELSE s.last_error END
    FROM (
        SELECT held.*, ticked.schedule_id IS NOT NULL AS is_new
        FROM held
        LEFT JOIN ticked ON held.id = ticked.schedule_id
    ) AS held
    WHERE s.id = held.id
),

counted AS (
    INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_created)
    SELECT job.user_id, date_trunc('hour', now(), 'UTC'), count(*)
    FROM job
    GROUP BY job.user_id
),

rung AS (
    SELECT pg_notify('signalstack_ready', bell.queue)
    FROM (SELECT DISTINCT job.queue FROM job) AS bell
)

SELECT
    held.id,
    CASE WHEN ticked.schedule_id IS NULL THEN 'duplicate' ELSE held.outcome END AS outcome,
    held.passed,
    held.type,
    held.queue,
    extract(EPOCH FROM clock_timestamp() - held.tick)::double precision AS lag_s
FROM (SELECT count(*) FROM rung) AS done (bells)
INNER JOIN held ON true
LEFT JOIN ticked ON held.id = ticked.schedule_id;
