-- Add runs to the count of a queue that the caller has locked.
UPDATE signalstack.queues
SET running = running + %(jobs)s::integer
WHERE user_id = %(user_id)s::uuid AND name = %(name)s::text;
