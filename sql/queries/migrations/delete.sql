-- Forgets a migration in the transaction that reverts it.
DELETE FROM signalstack.migrations
WHERE version = %(version)s::integer;
