-- Ring the doorbell of queues that this process cannot serve itself right now.
SELECT pg_notify('signalstack_again', q.name)
FROM unnest($1::text[]) AS q (name)
