-- Keep others from making queues of this tenant's until commit, so that counting them is exact.
SELECT u.id
FROM signalstack.users AS u
WHERE u.id = %(user_id)s::uuid
FOR NO KEY UPDATE;
