-- Makes a tenant; no row when the name is taken.
INSERT INTO signalstack.users (id, name)
VALUES (%(id)s::uuid, %(name)s::text)
ON CONFLICT (name) DO NOTHING
RETURNING id;
