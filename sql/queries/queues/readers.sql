-- Which other transactions have looked at queues: each does before its snapshot of them is taken.
SELECT coalesce(array_agg(DISTINCT l.virtualtransaction), '{}') AS readers
FROM pg_locks AS l
WHERE
    l.locktype = 'relation'
    AND l.relation = 'signalstack.queues'::regclass
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    AND l.pid <> pg_backend_pid();
