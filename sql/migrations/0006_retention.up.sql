-- Partitions come and go under short locks of one table at a time, and what is too old goes piece
-- by piece.

DROP FUNCTION signalstack.make_partitions(integer);

-- Make a day's partition of one table. A table is made first and attached then, which locks the
-- parent against nothing but its like; reading and writing goes on. The default partition is locked
-- and looked through: when it has rows of that day they stay there, and there is no partition.
CREATE FUNCTION signalstack.make_partition(parent text, day date) RETURNS boolean
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

-- Take a partition out of its table: what comes for its day from then on goes to the default one.
-- Not CONCURRENTLY, which PostgreSQL refuses beside a default partition: the caller sets a short
-- lock_timeout, and the catalogue's change itself takes no time.
CREATE FUNCTION signalstack.detach_partition(parent text, child text) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    -- The parent before its parts, as every statement locks them.
    EXECUTE format('LOCK TABLE ONLY signalstack.%I IN ACCESS EXCLUSIVE MODE', parent);
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_inherits
        WHERE inhrelid = to_regclass(format('signalstack.%I', child))
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE signalstack.%I DETACH PARTITION signalstack.%I', parent, child);
    RETURN true;
END
$$;

CREATE FUNCTION signalstack.drop_detached(child text) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_inherits
        WHERE inhrelid = to_regclass(format('signalstack.%I', child))
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS signalstack.%I', child);
    RETURN true;
END
$$;

-- Go through some blocks of one table and tell how many rows are over, how many are not, and in how
-- many seconds the first of those will be (null: never). By block, so that no index is needed, and
-- a piece costs the same however large the table is. A row is over so many seconds after its job
-- finished, by its status; an event, after it was received; an attempt, when its job is gone.
-- With the action 'remove' rows that are over are deleted; with 'carry' those that are not are put
-- where the parent has its place for them, since the table is detached and about to go.
CREATE FUNCTION signalstack.prune(
    parent text, child text, first_block bigint, blocks bigint, action text,
    succeeded_s double precision, failed_s double precision, cancelled_s double precision,
    events_s double precision,
    OUT expired bigint, OUT kept bigint, OUT next_s double precision
)
LANGUAGE plpgsql
AS $$
DECLARE
    left_s text := CASE parent
        WHEN 'events' THEN 'extract(EPOCH FROM t.created_at - now()) + $6'
        WHEN 'finished_jobs' THEN
            'extract(EPOCH FROM t.finished_at - now()) + CASE t.status '
            'WHEN ''succeeded'' THEN $3 WHEN ''failed'' THEN $4 ELSE $5 END'
        WHEN 'attempts' THEN
            'CASE WHEN NOT EXISTS (SELECT FROM signalstack.jobs AS j '
            'WHERE j.user_id = t.user_id AND j.id = t.job_id) '
            'AND NOT EXISTS (SELECT FROM signalstack.finished_jobs AS f '
            'WHERE f.user_id = t.user_id AND f.id = t.job_id) THEN -1 END'
    END;
    columns text := (
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = to_regclass(format('signalstack.%I', child))
            AND a.attnum > 0 AND NOT a.attisdropped
    );
    act text := CASE action
        WHEN 'remove' THEN format(
            'DELETE FROM signalstack.%I AS t '
            'WHERE t.ctid = any(array(SELECT s.spot FROM seen AS s WHERE s.left_s < 0))', child
        )
        WHEN 'carry' THEN format(
            'INSERT INTO signalstack.%I (%s) SELECT %s FROM signalstack.%I AS t WHERE t.ctid = '
            'any(array(SELECT s.spot FROM seen AS s WHERE s.left_s IS NULL OR s.left_s >= 0)) '
            'ON CONFLICT DO NOTHING', parent, columns, columns, child
        )
        ELSE 'SELECT'
    END;
BEGIN
    EXECUTE format(
        'WITH seen AS MATERIALIZED ('
        'SELECT t.ctid AS spot, (%s)::double precision AS left_s FROM signalstack.%I AS t '
        'WHERE t.ctid >= $1 AND t.ctid < $2), done AS (%s) '
        'SELECT count(*) FILTER (WHERE seen.left_s < 0), '
        'count(*) FILTER (WHERE seen.left_s IS NULL OR seen.left_s >= 0), '
        'min(seen.left_s) FILTER (WHERE seen.left_s >= 0) FROM seen',
        left_s, child, act
    )
    INTO expired, kept, next_s
    USING
        format('(%s,0)', first_block)::tid, format('(%s,0)', first_block + blocks)::tid,
        succeeded_s, failed_s, cancelled_s, events_s;
END
$$;
