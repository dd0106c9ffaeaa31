-- Take a token of the endpoint's bucket for a delivery that begins now (`wait_s` is 0), or else a
-- place in the line of those to come, so that they do not all come back at once. The row is locked
-- first: every delivery to this endpoint goes by one bucket, and what is computed must be of its
-- latest version. A bucket is the time at which it will be full: a token is there when that is
-- less than `burst - 1` tokens ahead. Places are handed out at the rate's own pace, beginning when
-- a token will be there. Who was put off before (`again`) goes as soon as it finds one, others
-- only when nobody is in line. An endpoint without a rate has no bucket; its line, which there is
-- after a hold, moves at `hold_pace_s`. A place further ahead than `horizon_s` is not kept: such a
-- delivery asks again before that. Guarded by the tenant.
WITH locked AS MATERIALIZED (
    SELECT
        e.id,
        e.bucket_full_at,
        e.next_slot_at,
        e.held_until,
        coalesce(
            (e.rate ->> 'per_s')::double precision / (e.rate ->> 'limit')::double precision,
            %(hold_pace_s)s::double precision
        ) * interval '1 second' AS pace,
        coalesce(e.rate ->> 'burst', e.rate ->> 'limit')::double precision AS burst
    FROM signalstack.endpoints AS e
    WHERE e.user_id = %(user_id)s::uuid AND e.id = %(id)s::uuid
    FOR UPDATE
),

-- Reads the clock when the lock has been got.
clock AS MATERIALIZED (
    SELECT
        locked.id,
        clock_timestamp() AS at
    FROM locked
),

found AS (
    SELECT
        l.id,
        c.at,
        l.next_slot_at,
        l.pace,
        CASE
            WHEN l.burst IS NOT NULL THEN greatest(l.bucket_full_at, c.at) + l.pace
        END AS full_at,
        -- NULL is passed over: no hold, no rate, or a bucket that was never used.
        greatest(c.at, l.held_until, l.bucket_full_at - (l.burst - 1) * l.pace) AS free_at
    FROM locked AS l
    INNER JOIN clock AS c ON l.id = c.id
),

decided AS (
    SELECT
        f.id,
        f.at,
        f.pace,
        f.full_at,
        f.free_at <= f.at
        AND (%(again)s::boolean OR coalesce(f.next_slot_at <= f.at, true)) AS goes,
        greatest(f.free_at, f.next_slot_at) AS slot_at,
        f.at + %(horizon_s)s::double precision * interval '1 second' AS horizon_at
    FROM found AS f
),

moved AS (
    UPDATE signalstack.endpoints AS e
    SET
        bucket_full_at = CASE WHEN d.goes THEN d.full_at ELSE e.bucket_full_at END,
        next_slot_at = CASE
            WHEN NOT d.goes AND d.slot_at <= d.horizon_at THEN d.slot_at + d.pace
            ELSE e.next_slot_at
        END
    FROM decided AS d
    WHERE e.id = d.id
)

SELECT
    CASE
        WHEN d.goes THEN 0
        WHEN d.slot_at <= d.horizon_at THEN extract(EPOCH FROM d.slot_at - d.at)
        ELSE %(horizon_s)s::double precision * (0.5 + random() / 2)
    END::double precision AS wait_s
FROM decided AS d;
