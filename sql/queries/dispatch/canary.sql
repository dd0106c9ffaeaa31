-- A notification to oneself: the only proof that LISTEN is alive.
SELECT pg_notify($1::text, $2::text) AS sent
