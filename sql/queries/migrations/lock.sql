-- Tries and never waits: a waiting statement holds a snapshot, and CREATE INDEX CONCURRENTLY of the
-- lock's holder would wait for that one. The key spells SIGNAL.
SELECT pg_try_advisory_lock(x'5349474e414c'::bigint) AS locked;
