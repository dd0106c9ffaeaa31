-- The operator's way to a tenant: by the name given to `signalstack keys create`.
SELECT id
FROM signalstack.users
WHERE name = %(name)s::text;
