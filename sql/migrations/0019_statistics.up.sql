-- A table that grew by a tenth is analysed, and where thousands of jobs end in a minute a day's
-- partition is, each time autovacuum looks: 200 ms of a core for 100,000 of them, most for columns
-- that nothing is looked for by, during which jobs start late. Those have no statistics any more,
-- and the others of what has ended a quarter of what is usual: 20 ms.

-- What has ended is found by tenant, id, type, queue, status and time.
ALTER TABLE signalstack.finished_jobs
ALTER COLUMN user_id SET STATISTICS 25,
ALTER COLUMN id SET STATISTICS 25,
ALTER COLUMN type SET STATISTICS 25,
ALTER COLUMN queue SET STATISTICS 25,
ALTER COLUMN priority SET STATISTICS 0,
ALTER COLUMN status SET STATISTICS 25,
ALTER COLUMN attempt SET STATISTICS 0,
ALTER COLUMN max_attempts SET STATISTICS 0,
ALTER COLUMN timeout_s SET STATISTICS 0,
ALTER COLUMN run_at SET STATISTICS 0,
ALTER COLUMN created_at SET STATISTICS 25,
ALTER COLUMN updated_at SET STATISTICS 0,
ALTER COLUMN started_at SET STATISTICS 0,
ALTER COLUMN finished_at SET STATISTICS 0,
ALTER COLUMN worker_id SET STATISTICS 0,
ALTER COLUMN wake SET STATISTICS 0,
ALTER COLUMN event_id SET STATISTICS 0,
ALTER COLUMN idempotency_key SET STATISTICS 0,
ALTER COLUMN traceparent SET STATISTICS 0,
ALTER COLUMN last_error SET STATISTICS 0,
ALTER COLUMN hidden_at SET STATISTICS 25,
ALTER COLUMN payload SET STATISTICS 0,
ALTER COLUMN result SET STATISTICS 0;

ALTER TABLE signalstack.attempts
ALTER COLUMN user_id SET STATISTICS 25,
ALTER COLUMN job_id SET STATISTICS 25,
ALTER COLUMN attempt SET STATISTICS 25,
ALTER COLUMN outcome SET STATISTICS 0,
ALTER COLUMN worker_id SET STATISTICS 0,
ALTER COLUMN wake SET STATISTICS 0,
ALTER COLUMN started_at SET STATISTICS 0,
ALTER COLUMN finished_at SET STATISTICS 0,
ALTER COLUMN error SET STATISTICS 0,
ALTER COLUMN result SET STATISTICS 0;

ALTER TABLE signalstack.events
ALTER COLUMN user_id SET STATISTICS 25,
ALTER COLUMN id SET STATISTICS 25,
ALTER COLUMN type SET STATISTICS 25,
ALTER COLUMN payload SET STATISTICS 0,
ALTER COLUMN source SET STATISTICS 0,
ALTER COLUMN subject SET STATISTICS 0,
ALTER COLUMN external_id SET STATISTICS 0,
ALTER COLUMN occurred_at SET STATISTICS 0,
ALTER COLUMN extensions SET STATISTICS 0,
ALTER COLUMN job_ids SET STATISTICS 0,
ALTER COLUMN created_at SET STATISTICS 25;

-- Claims read live jobs, whose plans have to be right: what they look by stays as it is.
ALTER TABLE signalstack.jobs
ALTER COLUMN max_attempts SET STATISTICS 0,
ALTER COLUMN timeout_s SET STATISTICS 0,
ALTER COLUMN updated_at SET STATISTICS 0,
ALTER COLUMN started_at SET STATISTICS 0,
ALTER COLUMN wake SET STATISTICS 0,
ALTER COLUMN idempotency_key SET STATISTICS 0,
ALTER COLUMN traceparent SET STATISTICS 0,
ALTER COLUMN last_error SET STATISTICS 0,
ALTER COLUMN payload SET STATISTICS 0,
ALTER COLUMN postponed_since SET STATISTICS 0;

-- As in 0006_retention.up.sql, and a new partition takes over what its table says of statistics,
-- which LIKE leaves behind.
CREATE OR REPLACE FUNCTION signalstack.make_partition(parent text, day date) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    child text := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
    targets text;
BEGIN
    EXECUTE format('LOCK TABLE ONLY signalstack.%I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(format('signalstack.%I', child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'CREATE TABLE signalstack.%I (LIKE signalstack.%I INCLUDING ALL)', child, parent
    );
    SELECT string_agg(
        format('ALTER COLUMN %I SET STATISTICS %s', a.attname, a.attstattarget), ', '
    )
    INTO targets
    FROM pg_catalog.pg_attribute AS a
    WHERE
        a.attrelid = to_regclass(format('signalstack.%I', parent))
        AND a.attnum > 0
        AND NOT a.attisdropped
        AND a.attstattarget >= 0;  -- below it, or NULL since PostgreSQL 17: as is usual
    IF targets IS NOT NULL THEN
        EXECUTE format('ALTER TABLE signalstack.%I %s', child, targets);
    END IF;
    EXECUTE format(
        'ALTER TABLE signalstack.%I ATTACH PARTITION signalstack.%I FOR VALUES FROM (%L) TO (%L)',
        parent, child,
        signalstack.uuid_floor(day::timestamp AT TIME ZONE 'UTC'),
        signalstack.uuid_floor((day + 1)::timestamp AT TIME ZONE 'UTC')
    );
    RETURN true;
EXCEPTION WHEN check_violation THEN
    RETURN false;
END
$$;
