-- Have the runs of a queue that became limited count in it. Rows that count already are left alone:
-- a settlement that has locked them waits for the queue, which the caller holds, and takes its runs
-- off the count afterwards. Rows that are locked are passed over: those are ending, and waiting for
-- them here would be a deadlock. The lane is read once, and before any row is locked: where a
-- million jobs wait, that takes half a second, and whoever ends one of the runs waits for the lock.
WITH leased AS MATERIALIZED (
    SELECT j.user_id, j.id, j.limited
    FROM signalstack.jobs AS j
    WHERE
        NOT j.delayed
        AND j.queue = %(name)s::text
        AND j.user_id = %(user_id)s::uuid
        AND j.lease_token IS NOT NULL
),

unmarked AS MATERIALIZED (
    SELECT j.user_id, j.id
    FROM leased
    INNER JOIN signalstack.jobs AS j ON leased.user_id = j.user_id AND leased.id = j.id
    WHERE NOT leased.limited AND NOT j.limited AND j.lease_token IS NOT NULL
    FOR UPDATE OF j SKIP LOCKED
),

marked AS (
    UPDATE signalstack.jobs AS j
    SET limited = true
    FROM unmarked
    WHERE j.user_id = unmarked.user_id AND j.id = unmarked.id
    RETURNING j.id
)

SELECT
    (SELECT count(*) FROM marked) AS marked,
    (SELECT count(*) FROM leased WHERE leased.limited) AS counted;
