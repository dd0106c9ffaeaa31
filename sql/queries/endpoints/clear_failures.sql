-- Asked for only where failures were counted: an endpoint that works costs no write.
UPDATE signalstack.endpoints
SET
    failing_since = null,
    failures = 0,
    failed_at = null
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid AND active AND failing_since IS NOT NULL;
