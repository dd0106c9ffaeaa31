-- Drop what was a partition; one that still is stays.
SELECT signalstack.drop_detached(%(child)s::text) AS dropped;
