-- Tenants, keys, what they configure, live and finished jobs, and what keeps workers honest.
-- Hot tables have no foreign keys: every row names its tenant, every write of theirs its guard.

CREATE TABLE signalstack.users (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    -- Bumped by every change of a subscription, so that caching them can be exact.
    subscriptions_version bigint NOT NULL DEFAULT 0,
    suspended_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE signalstack.api_keys (
    id text PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES signalstack.users (id) ON DELETE CASCADE,
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_user ON signalstack.api_keys (user_id);

CREATE TABLE signalstack.endpoints (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES signalstack.users (id) ON DELETE CASCADE,
    name text NOT NULL,
    url text NOT NULL,
    headers jsonb NOT NULL DEFAULT '{}',
    rate jsonb,
    active boolean NOT NULL DEFAULT true,
    disabled_reason text,
    secret text NOT NULL,
    previous_secret text,
    previous_secret_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, name)
);

CREATE TABLE signalstack.subscriptions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES signalstack.users (id) ON DELETE CASCADE,
    name text NOT NULL,
    event_type text NOT NULL,
    filter jsonb,
    job jsonb NOT NULL,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, name)
);

-- A queue of the nil user is declared by the operator and open to every tenant.
CREATE TABLE signalstack.queues (
    user_id uuid NOT NULL,
    name text NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    concurrency integer CHECK (concurrency > 0),
    rate jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, name)
);
INSERT INTO signalstack.queues (user_id, name)
VALUES ('00000000-0000-0000-0000-000000000000', 'default');

CREATE TABLE signalstack.events (
    user_id uuid NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    source text,
    subject text,
    external_id text,
    occurred_at timestamptz,
    -- CloudEvents attributes beyond the core ones.
    extensions jsonb,
    job_ids uuid[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, id)
) PARTITION BY RANGE (id);
CREATE TABLE signalstack.events_default PARTITION OF signalstack.events DEFAULT;

-- Live jobs only: small, claimed and settled without touching an index (HOT), so no index may
-- name a column that a claim writes, and a page must have room for what its rows become: a claimed
-- row is a third larger than a waiting one. Finished ones move to finished_jobs.
CREATE TABLE signalstack.jobs (
    user_id uuid NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    queue text NOT NULL,
    priority smallint NOT NULL,
    delayed boolean NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL,
    timeout_s double precision,
    run_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    worker_id uuid,
    lease_token bigint,
    wake text,
    cancel_requested boolean NOT NULL DEFAULT false,
    waited boolean NOT NULL DEFAULT false,
    event_id uuid,
    idempotency_key text,
    traceparent text,
    last_error text,
    payload jsonb NOT NULL,
    PRIMARY KEY (user_id, id)
) WITH (
    fillfactor = 40,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.0,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
-- A lane is one tenant's share of one queue; claiming goes from lane to lane.
CREATE INDEX jobs_ready ON signalstack.jobs (queue, user_id, priority DESC, id) WHERE NOT delayed;
CREATE INDEX jobs_delayed ON signalstack.jobs (run_at) WHERE delayed;

-- The last run of a job stands in its row; earlier ones in attempts.
CREATE TABLE signalstack.finished_jobs (
    user_id uuid NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    queue text NOT NULL,
    priority smallint NOT NULL,
    status text NOT NULL CHECK (status IN ('succeeded', 'failed', 'cancelled')),
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    timeout_s double precision,
    run_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz NOT NULL,
    worker_id uuid,
    wake text,
    event_id uuid,
    idempotency_key text,
    traceparent text,
    last_error text,
    hidden_at timestamptz,
    payload jsonb NOT NULL,
    result jsonb,
    PRIMARY KEY (user_id, id)
) PARTITION BY RANGE (id);
CREATE TABLE signalstack.finished_jobs_default PARTITION OF signalstack.finished_jobs DEFAULT;

CREATE TABLE signalstack.attempts (
    user_id uuid NOT NULL,
    job_id uuid NOT NULL,
    attempt integer NOT NULL,
    outcome text NOT NULL,
    worker_id uuid,
    wake text,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    error text,
    result jsonb,
    PRIMARY KEY (user_id, job_id, attempt)
) PARTITION BY RANGE (job_id);
CREATE TABLE signalstack.attempts_default PARTITION OF signalstack.attempts DEFAULT;

CREATE TABLE signalstack.idempotency (
    user_id uuid NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    ref uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, route, key)
);
CREATE INDEX idempotency_expiry ON signalstack.idempotency (expires_at);

-- Counts are appended here by the transaction that makes them true; one roller sums them up.
CREATE TABLE signalstack.metrics_delta (
    user_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    events_received integer NOT NULL DEFAULT 0,
    jobs_created integer NOT NULL DEFAULT 0,
    jobs_succeeded integer NOT NULL DEFAULT 0,
    jobs_failed integer NOT NULL DEFAULT 0,
    jobs_cancelled integer NOT NULL DEFAULT 0
);

CREATE TABLE signalstack.metrics_hourly (
    user_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    events_received bigint NOT NULL,
    jobs_created bigint NOT NULL,
    jobs_succeeded bigint NOT NULL,
    jobs_failed bigint NOT NULL,
    jobs_cancelled bigint NOT NULL,
    PRIMARY KEY (user_id, hour)
);

-- One lease for all that a worker process runs; renewed by its heartbeat.
CREATE TABLE signalstack.workers (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    queues text[] NOT NULL,
    concurrency integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL
);

CREATE TABLE signalstack.leaders (
    name text PRIMARY KEY,
    holder uuid NOT NULL,
    term bigint NOT NULL,
    lease_until timestamptz NOT NULL
);

-- The smallest UUIDv7 of a moment (RFC 9562, 5.7: 48 bits of Unix milliseconds lead).
CREATE FUNCTION signalstack.uuid_floor(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN rpad(lpad(to_hex(floor(extract(EPOCH FROM moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid;

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
