DROP FUNCTION signalstack.prune(
    text, text, bigint, bigint, text,
    double precision, double precision, double precision, double precision
);
DROP FUNCTION signalstack.drop_detached(text);
DROP FUNCTION signalstack.detach_partition(text, text);
DROP FUNCTION signalstack.make_partition(text, date);

-- Make the partitions of today and `days` ahead; rows of other days live in the default ones.
CREATE FUNCTION signalstack.make_partitions(days integer) RETURNS integer
LANGUAGE plpgsql
AS $$
DECLARE
    parent text;
    day date;
    child text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('signalstack.make_partitions'));
    FOREACH parent IN ARRAY ARRAY['events', 'finished_jobs', 'attempts'] LOOP
        FOR i IN 0..days LOOP
            day := (now() AT TIME ZONE 'UTC')::date + i;
            child := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
            CONTINUE WHEN to_regclass(format('signalstack.%I', child)) IS NOT NULL;
            BEGIN
                EXECUTE format(
                    'CREATE TABLE signalstack.%I PARTITION OF signalstack.%I FOR VALUES FROM (%L) TO (%L)',
                    child, parent,
                    signalstack.uuid_floor(day::timestamp AT TIME ZONE 'UTC'),
                    signalstack.uuid_floor((day + 1)::timestamp AT TIME ZONE 'UTC')
                );
                made := made + 1;
            EXCEPTION WHEN check_violation THEN
                -- The default partition holds rows of that day already: they stay there.
                NULL;
            END;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
