-- Guarded by `active`: the first reason is the one its owner needs.
UPDATE signalstack.endpoints
SET
    active = false,
    disabled_reason = %(reason)s::text,
    updated_at = now()
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid AND active;
