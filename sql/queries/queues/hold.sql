-- Let no job of an operator's queue start for a while, as its receiver asked: the bucket is emptied
-- and filled no sooner than that the next token comes when the time is over. Guarded by time: what
-- an earlier answer asked for is never cut short. A queue without a rate has no bucket.
UPDATE signalstack.queues AS q
SET
    tokens = 0,
    refilled_at
    = clock_timestamp()
    + (%(hold_s)s::double precision - q.rate_per_s / q.rate_limit) * interval '1 second'
WHERE
    q.user_id = '00000000-0000-0000-0000-000000000000'
    AND q.name = %(name)s::text
    AND q.rate_limit IS NOT NULL
    AND q.refilled_at + (1 - q.tokens) * q.rate_per_s / q.rate_limit * interval '1 second'
    < clock_timestamp() + %(hold_s)s::double precision * interval '1 second';
