-- The runs of a job before its last one, in order: what its history is derived from.
SELECT
    attempt,
    outcome,
    wake,
    started_at,
    finished_at
FROM signalstack.attempts
WHERE user_id = %(user_id)s::uuid AND job_id = %(job_id)s::uuid
ORDER BY attempt;
