-- As in 0003_enqueue.up.sql and 0011_since.up.sql: whatever type in whatever queue.
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('signalstack.enqueue'::regproc),
        $rule$    fault := coalesce(fault, CASE
        WHEN enqueue.type = 'send_message' AND enqueue.queue <> 'messages'
            THEN 'send_message jobs wait in the queue ''messages'' and in no other'
        WHEN enqueue.type <> 'send_message' AND enqueue.queue = 'messages'
            THEN 'the queue ''messages'' is for send_message jobs: others would hold messages up'
    END);
    IF fault IS NOT NULL THEN$rule$,
        '    IF fault IS NOT NULL THEN'
    );
END
$$;
