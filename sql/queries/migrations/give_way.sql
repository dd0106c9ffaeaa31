-- Everybody else queues behind a lock that is waited for, so this transaction soon gives up.
SELECT set_config('lock_timeout', '10s', true) AS value;
