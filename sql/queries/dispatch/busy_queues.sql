-- The names of all queues that have jobs which wait or run, by skipping through the index: one
-- probe a queue.
WITH RECURSIVE walk AS (
    (
        SELECT j.queue
        FROM signalstack.jobs AS j
        WHERE NOT j.delayed
        ORDER BY j.queue
        LIMIT 1
    )
    UNION ALL
    SELECT next.queue
    FROM walk
    CROSS JOIN LATERAL (
        SELECT j.queue
        FROM signalstack.jobs AS j
        WHERE NOT j.delayed AND j.queue > walk.queue
        ORDER BY j.queue
        LIMIT 1
    ) AS next
)

SELECT walk.queue FROM walk
