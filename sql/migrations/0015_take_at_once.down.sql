-- The function as it was since 0012.
CREATE OR REPLACE FUNCTION signalstack.take_invitation(
    wanted text, tenant uuid, OUT worker_id uuid, OUT token bigint, OUT channel text
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- As many live jobs of the tenant are looked at; where there are more, claims go on.
    most CONSTANT integer := 200;
    live integer;
    waiting integer;
    found_one record;
BEGIN
    SELECT i.ctid AS spot, i.worker_id, i.token, i.channel
    INTO found_one
    FROM signalstack.invitations AS i
    WHERE
        i.token IS NOT NULL
        AND (i.queues = '{}' OR wanted = ANY (i.queues))
        AND NOT pg_try_advisory_xact_lock_shared(i.lock_key)
        AND EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = i.worker_id)
    LIMIT 1
    FOR UPDATE OF i SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    PERFORM
    FROM signalstack.queues AS q
    WHERE
        q.user_id IN (tenant, '00000000-0000-0000-0000-000000000000')
        AND q.name = wanted
        AND (q.paused OR coalesce(q.concurrency, q.rate_limit) IS NOT NULL);
    IF FOUND THEN
        RETURN;
    END IF;

    -- In the order of the ready index, so that no plan reads anything else.
    SELECT count(*), count(*) FILTER (WHERE few.lease_token IS NULL)
    INTO live, waiting
    FROM (
        SELECT j.lease_token
        FROM signalstack.jobs AS j
        WHERE NOT j.delayed AND j.queue = wanted AND j.user_id = tenant
        ORDER BY j.queue, j.user_id, j.priority DESC, j.id
        LIMIT most
    ) AS few;
    IF waiting > 0 OR live = most THEN
        RETURN;
    END IF;

    UPDATE signalstack.invitations AS i SET token = NULL WHERE i.ctid = found_one.spot;
    IF FOUND THEN
        worker_id := found_one.worker_id;
        token := found_one.token;
        channel := found_one.channel;
    END IF;
END
$$;
