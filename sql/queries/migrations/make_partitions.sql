-- The daily partitions that today and so many days ahead lack, for a schema that is new.
SELECT
    count(*) FILTER (
        WHERE signalstack.make_partition(
            parent.name, (now() AT TIME ZONE 'UTC')::date + ahead.days
        )
    ) AS made
FROM generate_series(0, %(days)s::integer) AS ahead (days)
CROSS JOIN (VALUES ('attempts'), ('events'), ('finished_jobs')) AS parent (name)
WHERE
    to_regclass(
        'signalstack.' || parent.name
        || to_char((now() AT TIME ZONE 'UTC')::date + ahead.days, '_YYYYMMDD')
    ) IS NULL;
