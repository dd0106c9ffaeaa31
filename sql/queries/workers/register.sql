-- A worker takes up its lease; everything that it claims stands or falls with it.
INSERT INTO signalstack.workers (id, name, queues, concurrency, lease_until)
VALUES (
    %(id)s, %(name)s, %(queues)s::text[], %(concurrency)s,
    clock_timestamp() + %(lease_s)s * interval '1 second'
)
