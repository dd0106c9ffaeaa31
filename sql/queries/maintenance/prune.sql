-- Go through some blocks of a partition; see the function for the rules. The guard of what it
-- deletes is the row's own age, read in the same statement: a row that moved meanwhile stays.
SELECT
    done.expired,
    done.kept,
    done.next_s
FROM
    signalstack.prune(
        %(parent)s::text,
        %(child)s::text,
        %(first)s::bigint,
        %(blocks)s::bigint,
        %(action)s::text,
        %(succeeded_s)s::double precision,
        %(failed_s)s::double precision,
        %(cancelled_s)s::double precision,
        %(events_s)s::double precision
    ) AS done;
