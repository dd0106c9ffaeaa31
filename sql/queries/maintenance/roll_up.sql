-- Sum the appended deltas into the hourly counts. Another roller skips what this one locked.
WITH taken AS MATERIALIZED (
    SELECT d.ctid AS row_id
    FROM signalstack.metrics_delta AS d
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),

gone AS (
    DELETE FROM signalstack.metrics_delta AS d
    USING taken
    WHERE d.ctid = taken.row_id
    RETURNING
        d.user_id, d.hour, d.events_received, d.jobs_created, d.jobs_succeeded, d.jobs_failed,
        d.jobs_cancelled
),

summed AS (
    INSERT INTO signalstack.metrics_hourly AS h (
        user_id, hour, events_received, jobs_created, jobs_succeeded, jobs_failed, jobs_cancelled
    )
    SELECT
        gone.user_id,
        gone.hour,
        sum(gone.events_received),
        sum(gone.jobs_created),
        sum(gone.jobs_succeeded),
        sum(gone.jobs_failed),
        sum(gone.jobs_cancelled)
    FROM gone
    GROUP BY gone.user_id, gone.hour
    ORDER BY gone.user_id, gone.hour
    ON CONFLICT (user_id, hour) DO UPDATE SET
        events_received = h.events_received + excluded.events_received,
        jobs_created = h.jobs_created + excluded.jobs_created,
        jobs_succeeded = h.jobs_succeeded + excluded.jobs_succeeded,
        jobs_failed = h.jobs_failed + excluded.jobs_failed,
        jobs_cancelled = h.jobs_cancelled + excluded.jobs_cancelled
)

SELECT count(*) AS rolled FROM gone
