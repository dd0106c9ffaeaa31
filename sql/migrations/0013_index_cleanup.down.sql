ALTER TABLE signalstack.jobs RESET (vacuum_index_cleanup);
ALTER TABLE signalstack.jobs SET (
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_insert_scale_factor = 0.0
);
