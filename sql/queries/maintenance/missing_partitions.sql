-- The partitions that today and so many days ahead lack, the nearest first.
SELECT
    parent.name,
    to_char(day.at, 'YYYY-MM-DD') AS day
FROM generate_series(0, %(days)s::integer) AS ahead (days)
CROSS JOIN LATERAL (
    SELECT (now() AT TIME ZONE 'UTC')::date + ahead.days AS at
) AS day
CROSS JOIN (VALUES ('events'), ('finished_jobs'), ('attempts')) AS parent (name)
WHERE to_regclass('signalstack.' || parent.name || to_char(day.at, '_YYYYMMDD')) IS NULL
ORDER BY ahead.days, parent.name;
