-- The function holds types to queues as the API does (core/message.py, queue_fault): messages leave
-- at the pace of their queue, which they escaped in another one, and in which others held them up.
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('signalstack.enqueue'::regproc),
        '    IF fault IS NOT NULL THEN',
        $rule$    fault := coalesce(fault, CASE
        WHEN enqueue.type = 'send_message' AND enqueue.queue <> 'messages'
            THEN 'send_message jobs wait in the queue ''messages'' and in no other'
        WHEN enqueue.type <> 'send_message' AND enqueue.queue = 'messages'
            THEN 'the queue ''messages'' is for send_message jobs: others would hold messages up'
    END);
    IF fault IS NOT NULL THEN$rule$
    );
END
$$;
