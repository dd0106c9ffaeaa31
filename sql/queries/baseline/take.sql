-- The least that draining a queue can cost: rows are deleted as they are taken, so a crash loses
-- them; no lease, no outcome, no history. MATERIALIZED for the same reason as in the real claim.
WITH chosen AS MATERIALIZED (
    SELECT j.user_id, j.id
    FROM signalstack.jobs AS j
    WHERE NOT j.delayed AND j.queue = %(queue)s AND j.user_id = %(user_id)s
    ORDER BY j.priority DESC, j.id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),

gone AS (
    DELETE FROM signalstack.jobs AS j
    USING chosen
    WHERE j.user_id = chosen.user_id AND j.id = chosen.id
    RETURNING j.payload
)

SELECT count(gone.payload) AS taken FROM gone
