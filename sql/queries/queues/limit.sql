-- Set the limits of a queue that the caller has locked, and ring its workers up: more may be
-- allowed. A new rate begins with a full bucket; a changed one keeps what was left in it.
-- Without limits a claim does not ask any more what they held back, so that is told as a resumption
-- is.
WITH changed AS (
    UPDATE signalstack.queues AS q
    SET
        concurrency = %(concurrency)s::integer,
        tokens = CASE
            WHEN %(rate_limit)s::integer IS NULL THEN 0
            WHEN q.rate_limit IS NULL THEN %(rate_burst)s::integer
            ELSE least(
                q.rate_burst,
                %(rate_burst)s,
                q.tokens
                + extract(EPOCH FROM clock_timestamp() - q.refilled_at)
                * q.rate_limit / q.rate_per_s
            )
        END,
        refilled_at = clock_timestamp(),
        rate_limit = %(rate_limit)s,
        rate_per_s = %(rate_per_s)s::double precision,
        rate_burst = %(rate_burst)s,
        running = coalesce(%(running)s::integer, q.running),
        updated_at = now()
    WHERE q.user_id = %(user_id)s::uuid AND q.name = %(name)s::text
    RETURNING q.user_id, q.name, coalesce(q.concurrency, q.rate_limit) IS NULL AS free
)

SELECT
    count(
        CASE
            WHEN changed.free
                THEN pg_notify('signalstack_resumed', concat_ws(' ', changed.user_id, changed.name))
        END
    )
    + count(pg_notify('signalstack_ready', changed.name)) AS bells
FROM changed;
