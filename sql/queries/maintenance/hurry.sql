-- Have the rest of this transaction wait little for locks and run for a short while only: what a
-- chore is after can be had the next time, and others wait for what it holds.
SELECT
    set_config('lock_timeout', %(lock_ms)s::text, true) AS lock_timeout,
    set_config('statement_timeout', %(statement_ms)s::text, true) AS statement_timeout;
