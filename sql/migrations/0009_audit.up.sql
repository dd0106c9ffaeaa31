-- What was done to keys, endpoints, subscriptions, schedules and queues, by whom: written by
-- triggers, so in the transaction of the act, whichever way it was done. Names of columns alone are
-- kept of a change, never what is in them: they hold secrets.

CREATE TABLE signalstack.audit_log (
    id uuid PRIMARY KEY DEFAULT signalstack.new_id(),
    at timestamptz NOT NULL DEFAULT now(),
    user_id uuid NOT NULL,
    actor text NOT NULL,
    act text NOT NULL,
    object text NOT NULL,
    columns text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_user ON signalstack.audit_log (user_id, id);
ALTER TABLE signalstack.audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY service ON signalstack.audit_log TO signalstack_service USING (true);

-- With the rights of the tables' owner, so that who acts can neither read the log nor forge it.
CREATE FUNCTION signalstack.note_act() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    told jsonb := coalesce(after, before);
    kind text := CASE TG_TABLE_NAME WHEN 'api_keys' THEN 'key' ELSE rtrim(TG_TABLE_NAME, 's') END;
    changed text[] := CASE TG_OP WHEN 'UPDATE' THEN array(
        SELECT n.key
        FROM jsonb_each(after) AS n (key, value)
        WHERE n.value IS DISTINCT FROM before -> n.key
            -- What the service keeps of its own beside what was said.
            AND n.key NOT IN ('updated_at', 'turned_at', 'refilled_at', 'tokens', 'running')
        ORDER BY n.key
    ) ELSE '{}' END;
BEGIN
    INSERT INTO signalstack.audit_log (user_id, actor, act, object, columns)
    VALUES (
        (told ->> 'user_id')::uuid,
        coalesce(nullif(current_setting('signalstack.actor', true), ''), 'database ' || session_user),
        kind || ' ' || CASE
            WHEN TG_OP = 'INSERT' THEN 'created'
            WHEN TG_OP = 'DELETE' THEN 'deleted'
            WHEN 'revoked_at' = ANY (changed) THEN 'revoked'
            WHEN 'secret' = ANY (changed) THEN 'secret rotated'
            WHEN 'paused' = ANY (changed)
                THEN CASE WHEN (after ->> 'paused')::boolean THEN 'paused' ELSE 'resumed' END
            WHEN 'active' = ANY (changed)
                THEN CASE WHEN (after ->> 'active')::boolean THEN 'enabled' ELSE 'disabled' END
            ELSE 'changed'
        END,
        coalesce(told ->> 'id', told ->> 'name'),
        changed
    );
    RETURN NULL;
END
$$;

-- Who serves changes other columns of these tables all the time; such an update costs nothing here.
CREATE TRIGGER note_act AFTER INSERT OR DELETE ON signalstack.api_keys
FOR EACH ROW EXECUTE FUNCTION signalstack.note_act();
CREATE TRIGGER note_change AFTER UPDATE OF scopes, expires_at, revoked_at, secret_sha256
ON signalstack.api_keys
FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) EXECUTE FUNCTION signalstack.note_act();

CREATE TRIGGER note_act AFTER INSERT OR DELETE ON signalstack.endpoints
FOR EACH ROW EXECUTE FUNCTION signalstack.note_act();
CREATE TRIGGER note_change AFTER UPDATE OF name, url, headers, rate, active, secret
ON signalstack.endpoints
FOR EACH ROW WHEN (
    (old.name, old.url, old.headers, old.rate, old.active, old.secret)
    IS DISTINCT FROM (new.name, new.url, new.headers, new.rate, new.active, new.secret)
) EXECUTE FUNCTION signalstack.note_act();

CREATE TRIGGER note_act AFTER INSERT OR DELETE ON signalstack.subscriptions
FOR EACH ROW EXECUTE FUNCTION signalstack.note_act();
CREATE TRIGGER note_change AFTER UPDATE OF name, event_type, filter, job, active
ON signalstack.subscriptions
FOR EACH ROW WHEN (
    (old.name, old.event_type, old.filter, old.job, old.active)
    IS DISTINCT FROM (new.name, new.event_type, new.filter, new.job, new.active)
) EXECUTE FUNCTION signalstack.note_act();

CREATE TRIGGER note_act AFTER INSERT OR DELETE ON signalstack.schedules
FOR EACH ROW EXECUTE FUNCTION signalstack.note_act();
CREATE TRIGGER note_change AFTER UPDATE OF name, cron, timezone, misfire, job, paused
ON signalstack.schedules
FOR EACH ROW WHEN (
    (old.name, old.cron, old.timezone, old.misfire, old.job, old.paused)
    IS DISTINCT FROM (new.name, new.cron, new.timezone, new.misfire, new.job, new.paused)
) EXECUTE FUNCTION signalstack.note_act();

CREATE TRIGGER note_act AFTER INSERT OR DELETE ON signalstack.queues
FOR EACH ROW EXECUTE FUNCTION signalstack.note_act();
CREATE TRIGGER note_change AFTER UPDATE OF paused, concurrency, rate_limit, rate_per_s, rate_burst
ON signalstack.queues
FOR EACH ROW WHEN (
    (old.paused, old.concurrency, old.rate_limit, old.rate_per_s, old.rate_burst)
    IS DISTINCT FROM (new.paused, new.concurrency, new.rate_limit, new.rate_per_s, new.rate_burst)
) EXECUTE FUNCTION signalstack.note_act();

-- Rows are only added. Maintenance forgets old ones; a month stays, whoever asks.
CREATE FUNCTION signalstack.keep_acts() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'signalstack.audit_log is append-only'
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;
CREATE TRIGGER keep_acts BEFORE UPDATE OR DELETE ON signalstack.audit_log
FOR EACH ROW EXECUTE FUNCTION signalstack.keep_acts();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON signalstack.audit_log
FOR EACH STATEMENT EXECUTE FUNCTION signalstack.keep_acts();
