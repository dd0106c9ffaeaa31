-- How many of a tenant's messages stand how: what is summed up, and the deltas that are not yet.
SELECT
    counted.status,
    nullif(counted.error_code, '') AS error_code,
    sum(counted.messages)::bigint AS messages
FROM (
    SELECT
        t.status,
        t.error_code,
        t.messages
    FROM signalstack.message_tallies AS t
    WHERE t.user_id = %(user_id)s::uuid
    UNION ALL
    SELECT
        d.status,
        d.error_code,
        d.messages
    FROM signalstack.message_deltas AS d
    WHERE d.user_id = %(user_id)s
) AS counted
GROUP BY counted.status, counted.error_code
HAVING sum(counted.messages) <> 0
ORDER BY counted.status, counted.error_code;
