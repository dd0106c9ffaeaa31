-- One secret by its name; read once when a process starts.
SELECT value FROM signalstack.secrets
WHERE name = %(name)s;
