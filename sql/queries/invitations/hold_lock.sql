-- Hold a lock for as long as this session lives: who takes an invitation tells by it that
-- somebody is there to hear of it.
SELECT pg_advisory_lock($1::bigint)::text AS held
