-- Hold all deliveries back until the receiver wants them. Those that were under way together are
-- answered alike: only what moves the end by a second is written, and never to an earlier time.
-- Guarded by the tenant, and by `url`: what one receiver says is not true of the next.
UPDATE signalstack.endpoints
SET held_until = now() + make_interval(secs => %(hold_s)s::float8)
WHERE
    user_id = %(user_id)s::uuid
    AND id = %(id)s::uuid
    AND url = %(url)s::text
    AND coalesce(
        held_until < now() + make_interval(secs => %(hold_s)s::float8) - interval '1 second', true
    );
