-- Enqueueing by SQL, for callers who share the database: the job exists if and only if they commit.

-- A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 12 bits of the millisecond's
-- fraction (6.2, method 3), so that ids made one after another sort that way; the rest is random.
-- PostgreSQL has a function for this only from 18 on.
CREATE FUNCTION signalstack.new_id() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (
    SELECT
        (
            lpad(to_hex(clock.us / 1000), 12, '0')
            || to_hex(x'7000'::integer + (clock.us % 1000)::integer * 4096 / 1000)
            || right(gen_random_uuid()::text, 17)
        )::uuid
    FROM (SELECT floor(extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint) AS clock (us)
);

-- What is wrong with a job that somebody asks for, as a sentence; NULL when nothing is. These are
-- the rules for the body of POST /v1/jobs; what a type takes as its payload only workers know.
CREATE FUNCTION signalstack.job_fault(
    type text,
    payload jsonb,
    priority integer,
    run_at timestamptz,
    max_attempts integer,
    timeout_s double precision,
    idempotency_key text
) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN coalesce(length(type), 0) NOT BETWEEN 1 AND 100
        THEN 'type must have 1 to 100 characters'
    WHEN priority IS NULL OR priority NOT BETWEEN -1000 AND 1000
        THEN 'priority must be from -1000 to 1000'
    WHEN max_attempts IS NULL OR max_attempts NOT BETWEEN 1 AND 100
        THEN 'max_attempts must be from 1 to 100'
    WHEN NOT (timeout_s > 0 AND timeout_s <= 86400)
        THEN 'timeout_s must be above 0 and at most 86400'
    -- What lies outside of these years can be kept here, but Python could not read it back.
    WHEN NOT (run_at >= '0001-01-02 00:00:00+00' AND run_at < '9999-12-31 00:00:00+00')
        THEN 'run_at must be within the years 1 to 9999'
    WHEN NOT (idempotency_key COLLATE "C" ~ '^[!-~]{1,255}$')
        THEN 'idempotency_key must be 1 to 255 visible ASCII characters'
    WHEN octet_length(payload::text) > 262144
        THEN 'payload must have at most 262144 bytes'
    WHEN
        jsonb_path_exists(
            payload, 'strict $.**{64} ? (@.type() == "object" || @.type() == "array")'
        )
        THEN 'payload may nest arrays and objects 64 deep'
    WHEN
        jsonb_path_exists(
            payload,
            'strict $.** ? (@.type() == "number" && (@ > $most || @ < -$most))',
            '{"most": 1.7976931348623157e308}'
        )
        THEN 'payload must hold numbers within the range of doubles'
END;

-- Enqueue a job inside the caller's own transaction; returns its id. With an idempotency key that
-- was used in the last 24 hours, the id of the job that it made then; raises unique_violation when
-- that job was asked for in other words. These keys are apart from those of the HTTP API.
CREATE FUNCTION signalstack.enqueue(
    user_name text,
    type text,
    payload jsonb DEFAULT 'null',
    queue text DEFAULT 'default',
    priority integer DEFAULT 0,
    run_at timestamptz DEFAULT NULL,
    max_attempts integer DEFAULT 3,
    timeout_s double precision DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    traceparent text DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    owner uuid := (
        SELECT u.id FROM signalstack.users AS u
        WHERE u.name = enqueue.user_name AND u.suspended_at IS NULL
    );
    job_id uuid := signalstack.new_id();
    body jsonb := coalesce(enqueue.payload, 'null');
    due timestamptz := greatest(coalesce(enqueue.run_at, now()), now());
    fault text := signalstack.job_fault(
        enqueue.type, body, enqueue.priority, enqueue.run_at, enqueue.max_attempts,
        enqueue.timeout_s, enqueue.idempotency_key
    );
    -- jsonb has one text for equal values, so its digest is the same for what says the same.
    digest bytea := sha256(convert_to(jsonb_build_array(
        enqueue.type, body, enqueue.queue, enqueue.priority, extract(EPOCH FROM enqueue.run_at),
        enqueue.max_attempts, enqueue.timeout_s
    )::text, 'UTF8'));
    used record;
BEGIN
    IF owner IS NULL THEN
        fault := format('user %L does not exist or is suspended', enqueue.user_name);
    END IF;
    IF NOT EXISTS (
        SELECT FROM signalstack.queues AS q
        -- The operator's queues stand under the nil user.
        WHERE q.user_id IN (owner, '00000000-0000-0000-0000-000000000000')
            AND q.name = enqueue.queue
    ) THEN
        fault := format('queue %L does not exist', enqueue.queue);
    END IF;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'signalstack.enqueue: %', fault USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF enqueue.idempotency_key IS NOT NULL THEN
        -- Waits for another transaction that has just used the key, and sees what became of it.
        INSERT INTO signalstack.idempotency AS i (user_id, route, key, fingerprint, ref, expires_at)
        VALUES (
            owner, 'sql', enqueue.idempotency_key, digest, job_id, now() + interval '24 hours'
        )
        ON CONFLICT (user_id, route, key) DO UPDATE SET
            fingerprint = CASE
                WHEN i.expires_at > now() THEN i.fingerprint ELSE excluded.fingerprint
            END,
            ref = CASE WHEN i.expires_at > now() THEN i.ref ELSE excluded.ref END,
            expires_at = CASE
                WHEN i.expires_at > now() THEN i.expires_at ELSE excluded.expires_at
            END
        RETURNING i.ref, i.fingerprint INTO used;
        IF used.fingerprint <> digest THEN
            RAISE EXCEPTION 'signalstack.enqueue: idempotency_key was used for another job'
            USING ERRCODE = 'unique_violation';
        END IF;
        IF used.ref <> job_id THEN
            RETURN used.ref;
        END IF;
    END IF;

    INSERT INTO signalstack.jobs (
        user_id, id, type, queue, priority, delayed, max_attempts, timeout_s, run_at, wake,
        idempotency_key, traceparent, payload
    )
    VALUES (
        owner, job_id, enqueue.type, enqueue.queue, enqueue.priority, due > now(),
        enqueue.max_attempts, enqueue.timeout_s, due, CASE WHEN due > now() THEN 'timer' END,
        enqueue.idempotency_key, enqueue.traceparent, body
    );
    INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_created)
    VALUES (owner, date_trunc('hour', now(), 'UTC'), 1);
    PERFORM pg_notify(
        CASE WHEN due > now() THEN 'signalstack_later' ELSE 'signalstack_ready' END, enqueue.queue
    );
    RETURN job_id;
END
$$;
