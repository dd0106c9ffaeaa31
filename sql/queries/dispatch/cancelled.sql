-- Which of these leased jobs somebody wants cancelled: the answer to a notification that got lost.
SELECT j.id
FROM unnest($1::uuid[], $2::uuid[]) AS o (user_id, id)
INNER JOIN signalstack.jobs AS j ON o.user_id = j.user_id AND o.id = j.id
WHERE j.cancel_requested
