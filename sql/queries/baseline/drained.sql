-- Cheap enough to be asked fifty times a second while workers drain: one probe of the key.
SELECT
    clock_timestamp() AS at,
    NOT EXISTS (SELECT FROM signalstack.jobs AS j WHERE j.user_id = %(user_id)s) AS drained
