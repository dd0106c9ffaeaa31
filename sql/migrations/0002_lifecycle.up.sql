-- What waiting for, cancelling, listing and limiting jobs needs of the tables.

ALTER TABLE signalstack.jobs
DROP COLUMN waited,
-- Whom to tell of changes: 0 nobody, 1 when it ends, 2 every time.
ADD COLUMN watch smallint NOT NULL DEFAULT 0,
-- Whether this run counts in its queue's `running`.
ADD COLUMN limited boolean NOT NULL DEFAULT false;

-- `running`, `tokens` and `refilled_at` are kept for limited queues alone.
ALTER TABLE signalstack.queues
DROP COLUMN rate,
ADD COLUMN rate_limit integer CHECK (rate_limit > 0),
ADD COLUMN rate_per_s double precision CHECK (rate_per_s > 0),
ADD COLUMN rate_burst integer CHECK (rate_burst > 0),
ADD COLUMN running integer NOT NULL DEFAULT 0 CHECK (running >= 0),
ADD COLUMN tokens double precision NOT NULL DEFAULT 0,
ADD COLUMN refilled_at timestamptz NOT NULL DEFAULT now(),
ADD CONSTRAINT queues_rate CHECK (num_nulls(rate_limit, rate_per_s, rate_burst) IN (0, 3));
ALTER TABLE signalstack.queues SET (fillfactor = 50);

-- Most jobs succeed and are found by time; the others are what people look for.
CREATE INDEX finished_jobs_unsuccessful ON signalstack.finished_jobs (user_id, id)
WHERE status <> 'succeeded';
CREATE INDEX finished_jobs_type ON signalstack.finished_jobs (user_id, type, id);
CREATE INDEX events_type ON signalstack.events (user_id, type, id);

-- An endpoint that keeps failing is switched off; one that works costs no write.
ALTER TABLE signalstack.endpoints
ADD COLUMN failing_since timestamptz,
ADD COLUMN failures integer NOT NULL DEFAULT 0,
ADD COLUMN failed_at timestamptz;

-- What all processes must know alike and nobody else, such as the key that signs cursors. Two
-- random UUIDs hold 244 bits of a strong source, for which there is no other function on board.
CREATE TABLE signalstack.secrets (
    name text PRIMARY KEY,
    value bytea NOT NULL CHECK (length(value) >= 32)
);
INSERT INTO signalstack.secrets (name, value)
VALUES ('cursors', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
