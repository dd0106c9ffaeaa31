-- As in 0015_take_at_once.up.sql.
CREATE OR REPLACE FUNCTION signalstack.take_invitation(
    wanted text, tenant uuid, OUT worker_id uuid, OUT token bigint, OUT channel text
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- As many live jobs of the tenant are looked at; where there are more, claims go on.
    most CONSTANT integer := 200;
BEGIN
    UPDATE signalstack.invitations AS i
    SET token = NULL
    FROM (
        SELECT o.ctid AS spot, o.worker_id, o.token, o.channel
        FROM signalstack.invitations AS o
        WHERE
            o.token IS NOT NULL
            AND (o.queues = '{}' OR wanted = ANY (o.queues))
            AND NOT pg_try_advisory_xact_lock_shared(o.lock_key)
            AND EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = o.worker_id)
            AND NOT EXISTS (
                SELECT
                FROM signalstack.queues AS q
                WHERE
                    q.user_id IN (tenant, '00000000-0000-0000-0000-000000000000')
                    AND q.name = wanted
                    AND (q.paused OR coalesce(q.concurrency, q.rate_limit) IS NOT NULL)
            )
            AND (
                -- In the order of the ready index, so that no plan reads anything else.
                SELECT count(*) < most AND count(*) = count(few.lease_token)
                FROM (
                    SELECT j.lease_token
                    FROM signalstack.jobs AS j
                    WHERE NOT j.delayed AND j.queue = wanted AND j.user_id = tenant
                    ORDER BY j.queue, j.user_id, j.priority DESC, j.id
                    LIMIT most
                ) AS few
            )
        LIMIT 1
        FOR UPDATE OF o SKIP LOCKED
    ) AS open
    WHERE i.ctid = open.spot
    RETURNING open.worker_id, open.token, open.channel
    INTO take_invitation.worker_id, take_invitation.token, take_invitation.channel;
END
$$;
