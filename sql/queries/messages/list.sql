-- A page of messages, newest first, by the primary key; the page is cut before its jobs are looked
-- up.
SELECT
    page.id,
    coalesce(live.payload ->> 'phone_number', page.phone_number) AS phone_number,
    coalesce(live.payload ->> 'content', page.content) AS content,
    page.status,
    page.id AS job_id,
    coalesce(live.attempt, page.attempts) AS attempts,
    page.webhook_message_id,
    page.sent_at,
    CASE WHEN live.id IS NULL THEN page.last_error ELSE live.last_error END AS last_error,
    CASE
        WHEN live.id IS NULL THEN page.error_code
        ELSE signalstack.message_error_code(live.last_error)
    END AS error_code,
    page.created_at,
    greatest(page.updated_at, live.updated_at) AS updated_at
FROM (
    SELECT
        m.user_id,
        m.id,
        m.phone_number,
        m.content,
        m.status,
        m.attempts,
        m.webhook_message_id,
        m.sent_at,
        m.last_error,
        m.error_code,
        m.created_at,
        m.updated_at
    FROM signalstack.messages AS m
    WHERE
        m.user_id = %(user_id)s::uuid
        AND m.id >= %(floor)s::uuid
        AND m.id < %(below)s::uuid
        AND m.created_at >= coalesce(%(created_after)s::timestamptz, '-infinity')
        AND m.created_at < coalesce(%(created_before)s::timestamptz, 'infinity')
    ORDER BY m.id DESC
    LIMIT %(limit)s::integer
) AS page
LEFT JOIN signalstack.jobs AS live ON page.user_id = live.user_id AND page.id = live.id
ORDER BY page.id DESC;
