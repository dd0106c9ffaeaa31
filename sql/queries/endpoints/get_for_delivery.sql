-- The only query that reads secrets: the current one first, the previous one while both are valid.
SELECT
    id,
    url,
    headers,
    active,
    disabled_reason,
    failing_since IS NOT NULL AS failing,
    rate IS NOT NULL OR coalesce(held_until > clock_timestamp(), false) AS paced,
    CASE
        WHEN previous_secret IS NOT NULL AND previous_secret_until > now()
            THEN ARRAY[secret, previous_secret]
        ELSE ARRAY[secret]
    END AS secrets
FROM signalstack.endpoints
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid;
