-- Which of these jobs are over: what a lost notification would have said, for all who wait at once.
SELECT coalesce(array_agg(w.id), '{}') AS ids
FROM unnest(%(user_ids)s::uuid[], %(job_ids)s::uuid[]) AS w (user_id, id)
WHERE
    EXISTS (
        SELECT FROM signalstack.finished_jobs AS f
        WHERE f.user_id = w.user_id AND f.id = w.id
    );
