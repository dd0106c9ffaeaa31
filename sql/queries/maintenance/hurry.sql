-- Have the rest of this transaction wait little for locks and run for a short while only: what a
-- chore is after can be had the next time, and others wait for what it holds. Its plans are for
-- tables of any size, whatever the statistics say, and too short-lived to be compiled.
SELECT
    set_config('lock_timeout', %(lock_ms)s::text, true) AS lock_timeout,
    set_config('statement_timeout', %(statement_ms)s::text, true) AS statement_timeout,
    set_config('enable_seqscan', 'off', true) AS enable_seqscan,
    set_config('jit', 'off', true) AS jit;
