-- How many entries of the ready index this connection has read whose rows are gone, or are not
-- committed yet: in this transaction, and in those before it that PostgreSQL has not added up. The
-- difference of two tells what lies between, where no rows were told from the index alone.
SELECT
    pg_stat_get_xact_tuples_returned('signalstack.jobs_ready'::regclass)
    - pg_stat_get_xact_tuples_fetched('signalstack.jobs_ready'::regclass) AS entries
