-- Counts at most one failure a minute, so that a dead receiver with a thousand deliveries costs one
-- write; who waited for the row lock finds the guard on `failed_at` closed. Enough of them for long
-- enough switch the endpoint off. Guarded by `active`: the first reason is the one its owner needs.
-- Guarded by `url`: what one receiver does is not the fault of the next.
UPDATE signalstack.endpoints
SET
    failing_since = coalesce(failing_since, now()),
    failures = failures + 1,
    failed_at = now(),
    active = NOT coalesce(
        failing_since < now() - make_interval(secs => %(patience_s)s::float8)
        AND failures + 1 >= %(failures)s::integer,
        false
    ),
    disabled_reason = CASE
        WHEN
            failing_since < now() - make_interval(secs => %(patience_s)s::float8)
            AND failures + 1 >= %(failures)s::integer
            THEN
                'every delivery has failed since '
                || to_char(failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                || '; the last one: ' || %(reason)s::text
    END
WHERE
    user_id = %(user_id)s::uuid
    AND id = %(id)s::uuid
    AND url = %(url)s::text
    AND active
    AND (failed_at IS NULL OR failed_at < now() - interval '1 minute')
RETURNING active;
