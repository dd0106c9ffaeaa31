-- Keep others from making schedules of this tenant's until commit, so that counting them is exact.
SELECT clock_timestamp() AS now
FROM signalstack.users AS u
WHERE u.id = %(user_id)s::uuid
FOR NO KEY UPDATE;
