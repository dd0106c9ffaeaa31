-- A long history without having lived it: one finished job each millisecond up to now, with ids in
-- that order, as they would have come. Nothing is counted: analytics are not what it is read by.
INSERT INTO signalstack.finished_jobs (
    user_id, id, type, queue, priority, status, attempt, max_attempts, run_at, created_at,
    updated_at, started_at, finished_at, payload
)
SELECT
    %(user_id)s::uuid,
    (
        left(signalstack.uuid_floor(made.at)::text, 14) || '7' || right(gen_random_uuid()::text, 21)
    )::uuid AS id,
    'noop',
    %(queue)s::text,
    0,
    'succeeded',
    1,
    1,
    made.at AS run_at,
    made.at AS created_at,
    made.at AS updated_at,
    made.at AS started_at,
    made.at AS finished_at,
    'null'
FROM (
    SELECT now() - n.back * interval '1 millisecond' AS at
    FROM generate_series(%(count)s::integer, 1, -1) AS n (back)
) AS made
