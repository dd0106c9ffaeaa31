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

rung AS (
    SELECT pg_notify('signalstack_again', bell.queue)
    FROM (SELECT DISTINCT back.queue FROM back) AS bell
    UNION ALL
    SELECT signalstack.free_slots(array_agg(unknown.user_id), array_agg(unknown.queue))
    FROM unknown
    WHERE unknown.limited
    HAVING count(*) > 0
)

SELECT
    (SELECT count(*) FROM back) AS given_back,
    (SELECT count(*) FROM rung) AS bells
