-- Exact only under the lock that bump_subscriptions_version takes.
SELECT
    count(*) AS count,
    coalesce(
        sum(coalesce(octet_length(filter::text), 0) + octet_length(job::text)), 0
    )::bigint AS size
FROM signalstack.subscriptions
WHERE user_id = %(user_id)s::uuid;
