-- Says who acts in this transaction, for the audit log. A tenant's connection is signed by the
-- statement that binds it.
SELECT set_config('signalstack.actor', %(actor)s::text, true) AS actor;
