-- Sum the appended deltas into the tallies. Another roller skips what this one locked.
WITH taken AS MATERIALIZED (
    SELECT d.ctid AS spot
    FROM signalstack.message_deltas AS d
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),

gone AS (
    DELETE FROM signalstack.message_deltas AS d
    USING taken
    WHERE d.ctid = taken.spot
    RETURNING d.user_id, d.status, d.error_code, d.messages
),

summed AS (
    INSERT INTO signalstack.message_tallies AS t (user_id, status, error_code, messages)
    SELECT
        gone.user_id,
        gone.status,
        gone.error_code,
        sum(gone.messages)
    FROM gone
    GROUP BY gone.user_id, gone.status, gone.error_code
    ORDER BY gone.user_id, gone.status, gone.error_code
    ON CONFLICT (user_id, status, error_code) DO UPDATE SET
        messages = t.messages + excluded.messages
)

SELECT count(*) AS rolled FROM gone;
