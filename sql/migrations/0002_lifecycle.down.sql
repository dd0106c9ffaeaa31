DROP TABLE signalstack.secrets;
ALTER TABLE signalstack.endpoints
DROP COLUMN failed_at,
DROP COLUMN failures,
DROP COLUMN failing_since;

DROP INDEX signalstack.events_type;
DROP INDEX signalstack.finished_jobs_type;
DROP INDEX signalstack.finished_jobs_unsuccessful;

ALTER TABLE signalstack.queues RESET (fillfactor);
ALTER TABLE signalstack.queues
DROP CONSTRAINT queues_rate,
DROP COLUMN refilled_at,
DROP COLUMN tokens,
DROP COLUMN running,
DROP COLUMN rate_burst,
DROP COLUMN rate_per_s,
DROP COLUMN rate_limit,
ADD COLUMN rate jsonb;

ALTER TABLE signalstack.jobs
DROP COLUMN limited,
DROP COLUMN watch,
ADD COLUMN waited boolean NOT NULL DEFAULT false;
