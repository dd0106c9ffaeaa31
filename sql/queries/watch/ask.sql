-- Have a live job's changes announced from now on. Guarded so that it only ever asks for more, and
-- touches no row that announces enough already.
-- While the row is locked here, claims and promotions pass it over and believe that nothing is
-- left: so whoever did is rung up once this is committed.
WITH asked AS (
    UPDATE signalstack.jobs AS j
    SET watch = %(watch)s::smallint
    WHERE
        j.user_id = %(user_id)s::uuid
        AND j.id = %(job_id)s::uuid
        AND j.watch < %(watch)s::smallint
    RETURNING j.queue, j.delayed, j.lease_token
)

SELECT
    count(
        pg_notify(
            CASE WHEN asked.delayed THEN 'signalstack_later' ELSE 'signalstack_again' END,
            asked.queue
        )
    ) AS bells
FROM asked
WHERE asked.lease_token IS NULL;
