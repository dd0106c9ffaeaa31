-- Pause or resume a queue. Every claim reads it, so a pause needs no bell; a resumption rings, and
-- tells those who say why a job starts late.
WITH changed AS (
    UPDATE signalstack.queues AS q
    SET paused = %(paused)s::boolean, turned_at = now(), updated_at = now()
    WHERE
        q.user_id = %(user_id)s::uuid
        AND q.name = %(name)s::text
        AND q.paused <> %(paused)s
    RETURNING q.user_id, q.name, q.paused
)

SELECT
    count(pg_notify('signalstack_resumed', concat_ws(' ', changed.user_id, changed.name)))
    + count(pg_notify('signalstack_again', changed.name)) AS bells
FROM changed
WHERE NOT changed.paused;
