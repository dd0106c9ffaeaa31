-- A notification to oneself, the only proof that LISTEN is alive; and what time it is over there.
SELECT pg_notify($1::text, $2::text) AS sent, clock_timestamp() AS at
