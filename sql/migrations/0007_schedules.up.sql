-- Schedules, and the ticks that were dealt with.

CREATE TABLE signalstack.schedules (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES signalstack.users (id) ON DELETE CASCADE,
    name text NOT NULL,
    cron text NOT NULL,
    timezone text NOT NULL,
    misfire text NOT NULL CHECK (misfire IN ('skip', 'once')),
    job jsonb NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    -- What `@every` is counted from.
    anchor timestamptz NOT NULL,
    -- The first tick that is not dealt with; none while it is paused.
    next_tick timestamptz CHECK (next_tick IS NULL OR NOT paused),
    last_tick timestamptz,
    last_job_id uuid,
    last_error text,
    created_at timestamptz NOT NULL,
    -- Of what its owner says; ticks leave it alone, so that they can tell a change in between.
    updated_at timestamptz NOT NULL,
    UNIQUE (user_id, name)
);
CREATE INDEX schedules_due ON signalstack.schedules (next_tick) WHERE next_tick IS NOT NULL;

-- One row a tick, in the transaction that makes its job: whatever leaders think, none comes twice.
-- No foreign key: what a deleted schedule leaves behind goes with age.
CREATE TABLE signalstack.schedule_ticks (
    schedule_id uuid NOT NULL,
    tick timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('enqueued', 'skipped', 'rejected')),
    -- How many earlier ticks it stands for as well, those of an expression counted up to 100.
    passed integer NOT NULL,
    job_id uuid,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schedule_id, tick)
);
CREATE INDEX schedule_ticks_age ON signalstack.schedule_ticks (noted_at);
