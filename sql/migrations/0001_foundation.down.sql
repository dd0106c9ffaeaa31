DROP FUNCTION signalstack.make_partitions(integer);
DROP TABLE
signalstack.leaders,
signalstack.workers,
signalstack.metrics_hourly,
signalstack.metrics_delta,
signalstack.idempotency,
signalstack.attempts,
signalstack.finished_jobs,
signalstack.jobs,
signalstack.events,
signalstack.queues,
signalstack.subscriptions,
signalstack.endpoints,
signalstack.api_keys,
signalstack.users;
DROP FUNCTION signalstack.uuid_floor(timestamptz);
