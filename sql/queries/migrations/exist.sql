-- Asks by name, so that a database without our schema can be asked too.
SELECT to_regclass('signalstack.migrations') IS NOT NULL AS found;
