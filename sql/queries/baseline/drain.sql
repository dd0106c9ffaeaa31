-- What history says of a drain: when the first run started, and how many ended well.
SELECT
    count(*) FILTER (WHERE f.status = 'succeeded') AS succeeded,
    min(f.started_at) AS began_at
FROM signalstack.finished_jobs AS f
WHERE f.user_id = %(user_id)s
HAVING count(*) > 0
