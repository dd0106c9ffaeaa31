-- The least that storing a job can cost: one row into the live table and its indexes, no NOTIFY,
-- nothing counted, nothing checked. It goes into a queue of its own that no bench worker serves.
INSERT INTO signalstack.jobs (
    user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload
)
SELECT $1::uuid, n.id, 'noop', $3::text, 0, false, 1, now(), 'null'
FROM unnest($2::uuid[]) AS n (id)
