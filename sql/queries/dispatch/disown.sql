-- Give back what was leased by claims (known by their tokens, $1) whose answer got lost on its way:
-- nobody runs these jobs, and while the worker that asked lives, nobody would rescue them. Their
-- runs never began and leave no trace. It reads live jobs from end to end: only after such a loss.
WITH unknown AS MATERIALIZED (
    SELECT j.user_id, j.id, j.queue, j.limited
    FROM signalstack.jobs AS j
    WHERE j.lease_token = ANY($1::bigint[])
    ORDER BY j.user_id, j.id
    FOR UPDATE
),

back AS (
    UPDATE signalstack.jobs AS j
    SET
        attempt = j.attempt - 1,
        wake = NULL,
        lease_token = NULL,
        worker_id = NULL,
        started_at = NULL,
        limited = false,
        updated_at = clock_timestamp()
    FROM unknown
    WHERE j.user_id = unknown.user_id AND j.id = unknown.id
    RETURNING j.id, j.queue
),

-- A run that counts does so in its tenant's queue and in the operator's of that name, where these
-- are limited.
freed AS (
    SELECT whose.user_id, unknown.queue, count(*)::integer AS jobs
    FROM unknown
    CROSS JOIN unnest(
        ARRAY[unknown.user_id, '00000000-0000-0000-0000-000000000000'::uuid]
    ) AS whose (user_id)
    WHERE unknown.limited
    GROUP BY whose.user_id, unknown.queue
),

slot AS MATERIALIZED (
    SELECT q.user_id, q.name
    FROM signalstack.queues AS q
    WHERE
        coalesce(q.concurrency, q.rate_limit) IS NOT NULL
        AND (q.user_id, q.name) IN (SELECT freed.user_id, freed.queue FROM freed)
    ORDER BY q.user_id, q.name
    FOR UPDATE
),

released AS (
    UPDATE signalstack.queues AS q
    SET running = greatest(q.running - freed.jobs, 0)
    FROM slot
    INNER JOIN freed ON slot.user_id = freed.user_id AND slot.name = freed.queue
    WHERE q.user_id = slot.user_id AND q.name = slot.name
),

rung AS (
    SELECT pg_notify('signalstack_again', bell.queue)
    FROM (SELECT DISTINCT back.queue FROM back) AS bell
)

SELECT
    (SELECT count(*) FROM back) AS given_back,
    (SELECT count(*) FROM rung) AS bells
