-- Exact only under the lock that bump_subscriptions_version takes.
SELECT count(*) AS count
FROM signalstack.subscriptions
WHERE user_id = %(user_id)s::uuid;
