-- Forget all rows of one tenant, so that each measurement begins where the first one did.
WITH job AS (
    DELETE FROM signalstack.jobs AS t
    WHERE t.user_id = %(user_id)s
),

finished AS (
    DELETE FROM signalstack.finished_jobs AS t
    WHERE t.user_id = %(user_id)s
),

event AS (
    DELETE FROM signalstack.events AS t
    WHERE t.user_id = %(user_id)s
),

key AS (
    DELETE FROM signalstack.idempotency AS t
    WHERE t.user_id = %(user_id)s
),

subscription AS (
    DELETE FROM signalstack.subscriptions AS t
    WHERE t.user_id = %(user_id)s
),

attempt AS (
    DELETE FROM signalstack.attempts AS t
    WHERE t.user_id = %(user_id)s
),

delta AS (
    DELETE FROM signalstack.metrics_delta AS t
    WHERE t.user_id = %(user_id)s
)

DELETE FROM signalstack.metrics_hourly AS t
WHERE t.user_id = %(user_id)s
