-- Binds the transaction to a tenant: as the role that the policies of row-level security are for,
-- with the id that they ask for, and with who acts, for the audit log. All of it ends with the
-- transaction, also behind a pooler. It goes out in one pipeline with the statement that it is for.
SELECT
    set_config('signalstack.user_id', %(user_id)s::text, true) AS user_id,
    set_config('signalstack.actor', %(actor)s::text, true) AS actor,
    set_config('role', 'signalstack_tenant', true) AS role;
