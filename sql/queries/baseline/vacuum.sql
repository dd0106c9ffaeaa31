-- What autovacuum would do some time in the middle of the next measurement.
VACUUM (ANALYZE)
signalstack.jobs, signalstack.finished_jobs, signalstack.metrics_delta
