-- Sets what a pooled connection needs, unless a pooler sits between: there a session's settings
-- would stay with a server connection that others use next. A pooler shows by a process id of its
-- own.
SELECT set_config(setting.name, setting.value, false) AS value
FROM unnest(%(names)s::text[], %(values)s::text[]) AS setting (name, value)
WHERE pg_backend_pid() = %(pid)s::integer;
