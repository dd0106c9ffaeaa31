-- Goes first in every change of a subscription: the row lock makes a tenant's changes serial, so
-- that the limit is exact and versions count commits in their order.
UPDATE signalstack.users
SET subscriptions_version = subscriptions_version + 1
WHERE id = %(user_id)s::uuid
RETURNING subscriptions_version;
