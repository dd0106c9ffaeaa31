-- As in 0006_retention.up.sql.
CREATE OR REPLACE FUNCTION signalstack.make_partition(parent text, day date) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    child text := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
BEGIN
    EXECUTE format('LOCK TABLE ONLY signalstack.%I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(format('signalstack.%I', child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'CREATE TABLE signalstack.%I (LIKE signalstack.%I INCLUDING ALL)', child, parent
    );
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

DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT a.attrelid::regclass AS relation, a.attname AS name
        FROM pg_catalog.pg_attribute AS a
        WHERE
            a.attrelid IN (
                'signalstack.attempts'::regclass,
                'signalstack.events'::regclass,
                'signalstack.finished_jobs'::regclass,
                'signalstack.jobs'::regclass
            )
            AND a.attnum > 0
            AND NOT a.attisdropped
            AND a.attstattarget >= 0
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS -1', one.relation, one.name);
    END LOOP;
END
$$;
