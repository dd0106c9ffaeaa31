-- Messages: what the sender's jobs are for, with what the receiver said, kept beyond the jobs.

-- When a queue was last paused or resumed.
ALTER TABLE signalstack.queues ADD COLUMN turned_at timestamptz NOT NULL DEFAULT now();

-- The sender's queue is the operator's, and its limits are held by all tenants together. Processes
-- set them as they are told when they start.
INSERT INTO signalstack.queues AS q (
    user_id, name, concurrency, rate_limit, rate_per_s, rate_burst, tokens
)
VALUES ('00000000-0000-0000-0000-000000000000', 'messages', 5, 2, 120, 2, 2)
ON CONFLICT (user_id, name) DO UPDATE SET
    concurrency = excluded.concurrency,
    rate_limit = excluded.rate_limit,
    rate_per_s = excluded.rate_per_s,
    rate_burst = excluded.rate_burst,
    tokens = excluded.tokens;

-- A message has the id of its job. While that lives, the job says how it stands (attempts, error);
-- these columns hold what came of it at last. The triggers below keep `status` in the transactions
-- that begin and end the job, whoever does so and by which way.
CREATE TABLE signalstack.messages (
    user_id uuid NOT NULL,
    id uuid NOT NULL,
    phone_number text NOT NULL,
    content text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'sent', 'failed', 'cancelled')),
    attempts integer NOT NULL DEFAULT 0,
    webhook_message_id text,
    error_code text,
    last_error text,
    sent_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, id)
);
CREATE INDEX messages_status ON signalstack.messages (user_id, status, id);
CREATE INDEX messages_number ON signalstack.messages (user_id, phone_number, id);

-- How many messages stand how; counting rows would take longer the more there are. Deltas are
-- appended by the transactions that make them true, without an index, and one roller sums them up.
-- No error code is ''.
CREATE TABLE signalstack.message_deltas (
    user_id uuid NOT NULL,
    status text NOT NULL,
    error_code text NOT NULL DEFAULT '',
    messages bigint NOT NULL
);
CREATE TABLE signalstack.message_tallies (
    user_id uuid NOT NULL,
    status text NOT NULL,
    error_code text NOT NULL,
    messages bigint NOT NULL,
    PRIMARY KEY (user_id, status, error_code)
);

-- The sender's errors begin with their code. A run that outlived its job's deadline says so in the
-- worker's words.
CREATE FUNCTION signalstack.message_error_code(error text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN
        split_part(error, ':', 1)
        IN ('timeout', 'connection', 'rate_limited', 'rejected', 'invalid_response')
        THEN split_part(error, ':', 1)
    WHEN error LIKE 'TimeoutError: the job ran longer %' THEN 'timeout'
END;

-- A job of the sender's began, or began again: its message waits. A payload that is none (only SQL
-- can make one) makes no message, and its job will fail.
CREATE FUNCTION signalstack.begin_message() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    earlier record;
BEGIN
    IF jsonb_typeof(NEW.payload -> 'phone_number') IS DISTINCT FROM 'string'
        OR jsonb_typeof(NEW.payload -> 'content') IS DISTINCT FROM 'string'
    THEN
        RETURN NULL;
    END IF;
    SELECT m.status, m.error_code INTO earlier
    FROM signalstack.messages AS m
    WHERE m.user_id = NEW.user_id AND m.id = NEW.id
    FOR UPDATE;
    IF FOUND THEN
        UPDATE signalstack.messages AS m
        SET status = 'pending', error_code = NULL, updated_at = now()
        WHERE m.user_id = NEW.user_id AND m.id = NEW.id;
        INSERT INTO signalstack.message_deltas (user_id, status, error_code, messages)
        VALUES (NEW.user_id, earlier.status, coalesce(earlier.error_code, ''), -1);
    ELSE
        INSERT INTO signalstack.messages (
            user_id, id, phone_number, content, status, created_at, updated_at
        )
        VALUES (
            NEW.user_id, NEW.id, NEW.payload ->> 'phone_number', NEW.payload ->> 'content',
            'pending', NEW.created_at, NEW.created_at
        );
    END IF;
    INSERT INTO signalstack.message_deltas (user_id, status, messages)
    VALUES (NEW.user_id, 'pending', 1);
    RETURN NULL;
END
$$;

-- A job of the sender's ended: its message keeps what came of it. Amending the job may have changed
-- what it says.
CREATE FUNCTION signalstack.end_message() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept record;
BEGIN
    UPDATE signalstack.messages AS m
    SET
        phone_number = coalesce(NEW.payload ->> 'phone_number', m.phone_number),
        content = coalesce(NEW.payload ->> 'content', m.content),
        status = CASE NEW.status WHEN 'succeeded' THEN 'sent' ELSE NEW.status END,
        attempts = NEW.attempt,
        webhook_message_id = NEW.result ->> 'webhook_message_id',
        error_code = signalstack.message_error_code(NEW.last_error),
        last_error = NEW.last_error,
        sent_at = CASE WHEN NEW.status = 'succeeded' THEN NEW.finished_at END,
        updated_at = NEW.finished_at
    WHERE m.user_id = NEW.user_id AND m.id = NEW.id AND m.status = 'pending'
    RETURNING m.status, m.error_code INTO kept;
    IF FOUND THEN
        INSERT INTO signalstack.message_deltas (user_id, status, error_code, messages)
        VALUES
        (NEW.user_id, 'pending', '', -1),
        (NEW.user_id, kept.status, coalesce(kept.error_code, ''), 1);
    END IF;
    RETURN NULL;
END
$$;

-- Jobs of other types pay for the comparison alone.
CREATE TRIGGER begin_message AFTER INSERT ON signalstack.jobs
FOR EACH ROW WHEN (new.type = 'send_message') EXECUTE FUNCTION signalstack.begin_message();
CREATE TRIGGER end_message AFTER INSERT ON signalstack.finished_jobs
FOR EACH ROW WHEN (new.type = 'send_message') EXECUTE FUNCTION signalstack.end_message();
