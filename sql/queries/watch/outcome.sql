-- A job that has ended, for who waited for that: one probe of one partition, prepared, on the link
-- that brought the news. A hidden job is not found, nor one that has not ended.
SELECT
    f.id,
    f.type,
    f.queue,
    f.status,
    f.priority::integer AS priority,
    f.payload::text AS payload,
    f.run_at,
    f.attempt,
    f.max_attempts,
    f.timeout_s,
    f.idempotency_key,
    f.event_id,
    coalesce(f.result, 'null')::text AS result,
    f.last_error,
    f.created_at,
    f.started_at,
    f.finished_at,
    f.updated_at
FROM signalstack.finished_jobs AS f
WHERE f.user_id = $1::uuid AND f.id = $2::uuid AND f.hidden_at IS NULL
