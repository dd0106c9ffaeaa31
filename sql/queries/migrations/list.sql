-- What a database says it has, in order.
SELECT
    version,
    name,
    checksum,
    applied_at
FROM signalstack.migrations
ORDER BY version;
