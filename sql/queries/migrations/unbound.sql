-- A migration may take longer than the role's other statements; but when its process is killed, it
-- must end and give the lock back.
SELECT
    set_config('statement_timeout', '0', false) AS patience,
    set_config('client_connection_check_interval', '1s', false) AS attention;
