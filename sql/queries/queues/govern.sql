-- Set the limits of an operator's queue, which all tenants share, and ring its workers up: more may
-- be allowed. Guarded by a difference, so that processes that say the same write nothing. What was
-- left in the bucket stays in it. What no limits held back any more is told as in limit.sql, and
-- where they begin none of the runs counts: those that do so without limits are not taken off.
WITH changed AS (
    INSERT INTO signalstack.queues AS q (
        user_id, name, concurrency, rate_limit, rate_per_s, rate_burst, tokens
    )
    VALUES (
        '00000000-0000-0000-0000-000000000000', %(name)s::text, %(concurrency)s::integer,
        %(rate_limit)s::integer, %(rate_per_s)s::double precision, %(rate_burst)s::integer,
        coalesce(%(rate_burst)s, 0)
    )
    ON CONFLICT (user_id, name) DO UPDATE SET
        concurrency = excluded.concurrency,
        running = CASE WHEN coalesce(q.concurrency, q.rate_limit) IS NULL THEN 0 ELSE q.running END,
        tokens = CASE
            WHEN excluded.rate_limit IS NULL THEN 0
            WHEN q.rate_limit IS NULL THEN excluded.rate_burst
            ELSE least(
                q.rate_burst,
                excluded.rate_burst,
                q.tokens
                + extract(EPOCH FROM clock_timestamp() - q.refilled_at)
                * q.rate_limit / q.rate_per_s
            )
        END,
        refilled_at = clock_timestamp(),
        rate_limit = excluded.rate_limit,
        rate_per_s = excluded.rate_per_s,
        rate_burst = excluded.rate_burst,
        updated_at = now()
    WHERE
        (q.concurrency, q.rate_limit, q.rate_per_s, q.rate_burst)
        IS DISTINCT FROM (
            excluded.concurrency, excluded.rate_limit, excluded.rate_per_s, excluded.rate_burst
        )
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
