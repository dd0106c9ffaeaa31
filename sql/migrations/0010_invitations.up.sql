-- Workers at rest invite: who stores a job that is due leases it to one of them in the same
-- statement and rings that worker's own bell, so that nobody has to claim it.

-- Open while it has a token: the lease token of the run that takes it. Unlogged, since workers
-- invite anew after each connect. Small, and written with each job that is handed over.
CREATE UNLOGGED TABLE signalstack.invitations (
    worker_id uuid PRIMARY KEY,
    channel text NOT NULL,
    queues text[] NOT NULL,
    lock_key bigint NOT NULL,
    token bigint
) WITH (
    fillfactor = 10,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- Take an invitation for a job that this transaction stores; all null when there is none to be had.
-- None is had of a worker that was given up for dead or whose session is gone (it held the lock for
-- as long as it lived), for a queue that is paused or has limits (those are counted by claims), nor
-- while another job of the tenant waits in the queue: nobody is overtaken. No lock is waited for.
-- With its owner's rights: channels and tokens are secrets, by which a bell is believed.
CREATE FUNCTION signalstack.take_invitation(
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
REVOKE ALL ON FUNCTION signalstack.take_invitation FROM public;
GRANT EXECUTE ON FUNCTION signalstack.take_invitation TO signalstack_service;

-- Ring a worker's own bell: all that it has to know of the run that it was handed. PostgreSQL takes
-- up to 7,999 bytes; a payload that makes it too long stays behind and is read when the run begins.
CREATE FUNCTION signalstack.hand_over(
    channel text, token bigint, user_id uuid, id uuid, type text, queue text, max_attempts integer,
    timeout_s double precision, run_at timestamptz, traceparent text, payload jsonb
) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    SELECT pg_notify(
        channel,
        json_build_array(
            token, user_id, id, type, queue, max_attempts, timeout_s,
            extract(EPOCH FROM run_at)::double precision, traceparent,
            octet_length(payload::text) <= 6000,
            CASE WHEN octet_length(payload::text) <= 6000 THEN payload END
        )::text
    )
$$;
