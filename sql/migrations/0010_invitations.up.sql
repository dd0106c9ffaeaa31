-- Workers at rest invite: who stores a job that is due leases it to one of them in the same
-- statement and rings that worker's own bell, so that nobody has to claim it.

-- A seat a row, open while it has a token: the lease token of the run that takes it. Unlogged,
-- since workers invite anew after each connect. Small, and written with each job that is handed on.
CREATE UNLOGGED TABLE signalstack.invitations (
    worker_id uuid NOT NULL,
    seat smallint NOT NULL,
    channel text NOT NULL,
    queues text[] NOT NULL,
    lock_key bigint NOT NULL,
    token bigint,
    PRIMARY KEY (worker_id, seat)
) WITH (
    fillfactor = 10,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- Take an open seat for a job that this transaction stores; all null when there is none to be had.
-- None is had of a worker whose session is gone (it held the lock for as long as it lived), for a
-- queue that is paused or has limits (those are counted by claims), nor while another job of the
-- tenant waits in the queue: nobody is overtaken. No lock is waited for. What a worker invites is
-- kept from strangers by its channel, whose name only those know who may read this table.
CREATE FUNCTION signalstack.take_seat(
    wanted text, tenant uuid, OUT worker_id uuid, OUT token bigint, OUT channel text
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    seat record;
BEGIN
    SELECT i.ctid AS spot, i.worker_id, i.token, i.channel
    INTO seat
    FROM signalstack.invitations AS i
    WHERE
        i.token IS NOT NULL
        AND (i.queues = '{}' OR wanted = ANY (i.queues))
        AND NOT pg_try_advisory_xact_lock_shared(i.lock_key)
    LIMIT 1
    FOR UPDATE SKIP LOCKED;
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
    PERFORM
    FROM signalstack.jobs AS j
    WHERE NOT j.delayed AND j.queue = wanted AND j.user_id = tenant AND j.lease_token IS NULL
    ORDER BY j.queue, j.user_id, j.priority DESC, j.id
    LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;

    UPDATE signalstack.invitations AS i SET token = NULL WHERE i.ctid = seat.spot;
    worker_id := seat.worker_id;
    token := seat.token;
    channel := seat.channel;
END
$$;

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
