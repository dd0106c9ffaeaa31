-- A vacuum that finds dead rows on few pages leaves their index entries where they are, and few are
-- as many as two in a hundred: claims pass over them all, 2 ms beside a backlog of five millions.
-- Since each vacuum now reads the indexes from end to end, one waits for a two-hundredth of a large
-- table, or a twentieth of it that is new.
ALTER TABLE signalstack.jobs SET (
    vacuum_index_cleanup = on,
    autovacuum_vacuum_scale_factor = 0.005,
    autovacuum_vacuum_insert_scale_factor = 0.05
);
