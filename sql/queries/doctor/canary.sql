-- A notification from one session to another. One to oneself proves nothing: even a pooler in
-- transaction mode hands that one back with the answer.
SELECT pg_notify(%(channel)s::text, '')::text AS sent;
