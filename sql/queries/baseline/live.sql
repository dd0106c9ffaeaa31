-- Jobs that are not the bench's own: what it must not run into.
SELECT count(*) > 0 AS live
FROM (SELECT j.id FROM signalstack.jobs AS j LIMIT 1) AS first
