-- Where an event's jobs stand, in the order in which they were made: each found by its primary key
-- in one of the two tables, in one snapshot. Hidden ones are left out.
SELECT
    job.id,
    job.type,
    job.queue,
    job.status
FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS wanted (id, place)
CROSS JOIN LATERAL (
    SELECT
        live.id,
        live.type,
        live.queue,
        CASE
            WHEN live.lease_token IS NOT NULL THEN 'running'
            WHEN live.delayed AND live.run_at > now() THEN 'scheduled'
            ELSE 'pending'
        END AS status
    FROM signalstack.jobs AS live
    WHERE live.user_id = %(user_id)s::uuid AND live.id = wanted.id
    UNION ALL
    SELECT
        finished.id,
        finished.type,
        finished.queue,
        finished.status
    FROM signalstack.finished_jobs AS finished
    WHERE
        finished.user_id = %(user_id)s::uuid
        AND finished.id = wanted.id
        AND finished.hidden_at IS NULL
) AS job
ORDER BY wanted.place;
