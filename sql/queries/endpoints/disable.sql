-- Guarded by `active`: the first reason is the one its owner needs. Guarded by
-- `url`: what one receiver says is not true of the next.
UPDATE signalstack.endpoints
SET
    active = false,
    disabled_reason = %(reason)s::text,
    updated_at = now()
WHERE
    user_id = %(user_id)s::uuid
    AND id = %(id)s::uuid
    AND url = %(url)s::text
    AND active;
