-- Set the count of runs of a queue that the caller has locked, and ring where there are fewer.
-- Guarded by a difference, which the count itself hardly ever makes.
WITH before AS MATERIALIZED (
    SELECT q.running
    FROM signalstack.queues AS q
    WHERE q.user_id = %(user_id)s::uuid AND q.name = %(name)s::text
),

changed AS (
    UPDATE signalstack.queues AS q
    SET running = %(running)s::integer
    WHERE q.user_id = %(user_id)s AND q.name = %(name)s AND q.running <> %(running)s
    RETURNING q.name, q.running
)

SELECT count(pg_notify('signalstack_ready', changed.name)) AS bells
FROM changed
INNER JOIN before ON changed.running < before.running;
