-- When all slots of a limited queue were taken last: jobs that came due before that waited for the
-- limit and not for a worker, which the objective for starts has to tell apart. The function is as
-- in 0014_free_slots.up.sql, and notes that.
ALTER TABLE signalstack.queues ADD COLUMN full_at timestamptz;

CREATE OR REPLACE FUNCTION signalstack.free_slots(users uuid[], names text[]) RETURNS void
LANGUAGE plpgsql STRICT
AS $$
BEGIN
    WITH freed AS MATERIALIZED (
        SELECT whose.user_id, run.queue, count(*)::integer AS jobs
        FROM unnest(users, names) AS run (user_id, queue)
        CROSS JOIN LATERAL unnest(
            ARRAY[run.user_id, '00000000-0000-0000-0000-000000000000'::uuid]
        ) AS whose (user_id)
        GROUP BY whose.user_id, run.queue
    ),

    slot AS MATERIALIZED (
        SELECT q.user_id, q.name
        FROM signalstack.queues AS q
        WHERE
            coalesce(q.concurrency, q.rate_limit) IS NOT NULL
            AND (q.user_id, q.name) IN (SELECT freed.user_id, freed.queue FROM freed)
        ORDER BY q.user_id, q.name
        FOR UPDATE
    )

    UPDATE signalstack.queues AS q
    SET
        running = greatest(q.running - freed.jobs, 0),
        full_at = CASE WHEN q.running >= q.concurrency THEN clock_timestamp() ELSE q.full_at END
    FROM slot
    INNER JOIN freed ON slot.user_id = freed.user_id AND slot.name = freed.queue
    WHERE q.user_id = slot.user_id AND q.name = slot.name;

    PERFORM pg_notify('signalstack_ready', bell.queue)
    FROM (SELECT DISTINCT run.queue FROM unnest(names) AS run (queue)) AS bell;
END
$$;
