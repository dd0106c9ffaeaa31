-- For the operator: the newest acts, of one tenant when named. By id, which leads with time.
SELECT
    log.at,
    tenant.name AS user_name,
    log.actor,
    log.act,
    log.object,
    log.columns
FROM signalstack.audit_log AS log
LEFT JOIN signalstack.users AS tenant ON log.user_id = tenant.id
WHERE
    (%(user_name)s::text IS NULL OR tenant.name = %(user_name)s)
    AND (
        %(since_s)s::double precision IS NULL
        OR log.at >= now() - %(since_s)s * interval '1 second'
    )
ORDER BY log.id DESC
LIMIT %(limit)s::integer;
