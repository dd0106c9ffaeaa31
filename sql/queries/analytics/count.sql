-- Count what happened in each bucket of a period, empty ones included: what is summed up and the
-- deltas that no roller took yet. One statement is one snapshot, so a delta on its way from the
-- one table to the other is counted once, however far the roller lags.
-- The step is made of seconds: an interval of days would follow the session's time zone.
WITH counted AS (
    SELECT
        h.hour,
        h.events_received,
        h.jobs_created,
        h.jobs_succeeded,
        h.jobs_failed,
        h.jobs_cancelled
    FROM signalstack.metrics_hourly AS h
    WHERE
        h.user_id = %(user_id)s
        AND h.hour BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
    UNION ALL
    SELECT
        d.hour,
        d.events_received,
        d.jobs_created,
        d.jobs_succeeded,
        d.jobs_failed,
        d.jobs_cancelled
    FROM signalstack.metrics_delta AS d
    WHERE
        d.user_id = %(user_id)s
        AND d.hour BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
),

step AS MATERIALIZED (
    SELECT %(step_s)s::double precision * interval '1 second' AS size
),

summed AS (
    SELECT
        date_bin(step.size, counted.hour, %(first)s::timestamptz) AS start,
        sum(counted.events_received)::bigint AS events_received,
        sum(counted.jobs_created)::bigint AS jobs_created,
        sum(counted.jobs_succeeded)::bigint AS jobs_succeeded,
        sum(counted.jobs_failed)::bigint AS jobs_failed,
        sum(counted.jobs_cancelled)::bigint AS jobs_cancelled
    FROM counted
    CROSS JOIN step
    GROUP BY start
)

SELECT
    bucket.start,
    coalesce(summed.events_received, 0) AS events_received,
    coalesce(summed.jobs_created, 0) AS jobs_created,
    coalesce(summed.jobs_succeeded, 0) AS jobs_succeeded,
    coalesce(summed.jobs_failed, 0) AS jobs_failed,
    coalesce(summed.jobs_cancelled, 0) AS jobs_cancelled
FROM step
CROSS JOIN
    generate_series(%(first)s::timestamptz, %(last)s::timestamptz, step.size) AS bucket (start)
LEFT JOIN summed ON bucket.start = summed.start
ORDER BY bucket.start
