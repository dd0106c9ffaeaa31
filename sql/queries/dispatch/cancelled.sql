-- Which of these leased jobs somebody wants cancelled: the answer to a notification that got lost.
-- LIMIT 1 has each looked up by its key, whatever plan was made while the table was empty.
SELECT wanted.id
FROM unnest($1::uuid[], $2::uuid[]) AS o (user_id, id)
CROSS JOIN LATERAL (
    SELECT j.id
    FROM signalstack.jobs AS j
    WHERE j.user_id = o.user_id AND j.id = o.id AND j.cancel_requested
    LIMIT 1
) AS wanted
