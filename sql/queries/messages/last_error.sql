-- What went wrong last with a tenant's sending: the newest message that failed, or an attempt of
-- one that waits for the next. Who came first was tried first, so few of them are looked at.
SELECT latest.error
FROM (
    (
        SELECT failed.last_error AS error, failed.updated_at
        FROM signalstack.messages AS failed
        WHERE failed.user_id = %(user_id)s::uuid AND failed.status = 'failed'
        ORDER BY failed.id DESC
        LIMIT 1
    )
    UNION ALL
    SELECT live.last_error AS error, live.updated_at
    FROM (
        SELECT m.user_id, m.id
        FROM signalstack.messages AS m
        WHERE m.user_id = %(user_id)s AND m.status = 'pending'
        ORDER BY m.id
        LIMIT 200
    ) AS oldest
    INNER JOIN signalstack.jobs AS live ON oldest.user_id = live.user_id AND oldest.id = live.id
) AS latest
WHERE latest.error IS NOT NULL
ORDER BY latest.updated_at DESC
LIMIT 1;
