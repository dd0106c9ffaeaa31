-- What history says of a drain: all runs, and those since the last worker joined in.
WITH run AS MATERIALIZED (
    SELECT f.worker_id, f.status, f.started_at
    FROM signalstack.finished_jobs AS f
    WHERE f.user_id = %(user_id)s
),

joined AS (
    SELECT count(*) AS workers, max(first.at) AS at
    FROM (
        SELECT min(run.started_at) AS at
        FROM run
        GROUP BY run.worker_id
    ) AS first
)

SELECT
    (SELECT count(*) FROM run WHERE run.status = 'succeeded') AS succeeded,
    (SELECT count(*) FROM run WHERE run.started_at >= joined.at) AS counted,
    joined.workers,
    joined.at AS began_at
FROM joined
WHERE joined.at IS NOT NULL
