-- One of the tenant's own, with the jobs that it became.
SELECT
    id,
    type,
    payload,
    source,
    subject,
    external_id,
    occurred_at,
    coalesce(extensions, 'null') AS extensions,
    created_at,
    job_ids
FROM signalstack.events
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid;
