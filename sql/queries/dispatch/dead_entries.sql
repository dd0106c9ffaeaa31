-- How many entries of the ready index this connection has read whose rows are gone: of the
-- transaction, and of those before it that PostgreSQL has not added up yet. The difference of two
-- tells what lies between.
SELECT
    pg_stat_get_xact_tuples_returned('signalstack.jobs_ready'::regclass)
    - pg_stat_get_xact_tuples_fetched('signalstack.jobs_ready'::regclass) AS entries
