-- Version and subscriptions in one statement, so in one snapshot: a cache filled with them is exact
-- for that version. A tenant without any has one row of nulls.
SELECT
    tenant.subscriptions_version AS version,
    subscription.id,
    subscription.event_type,
    coalesce(subscription.filter, 'null') AS filter,
    coalesce(subscription.job, 'null') AS job
FROM signalstack.users AS tenant
LEFT JOIN signalstack.subscriptions AS subscription
    ON tenant.id = subscription.user_id AND subscription.active
WHERE tenant.id = %(user_id)s::uuid
ORDER BY subscription.id;
