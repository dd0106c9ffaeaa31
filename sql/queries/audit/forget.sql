-- Forget acts of long ago, a batch at a time. Guarded by age, here and by a trigger of the table.
DELETE FROM signalstack.audit_log AS log
USING (
    SELECT old.id
    FROM signalstack.audit_log AS old
    WHERE
        old.id < signalstack.uuid_floor(now() - %(keep_s)s::double precision * interval '1 second')
    LIMIT %(limit)s::integer
    FOR UPDATE SKIP LOCKED
) AS over
WHERE log.id = over.id;
