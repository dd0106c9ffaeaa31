-- How many entries of the ready index this connection has read: of the transaction, and of those
-- before it that PostgreSQL has not added up yet. The difference of two tells what lies between.
SELECT pg_stat_get_xact_tuples_returned('signalstack.jobs_ready'::regclass) AS entries
