-- Notes a migration in the transaction that applies it.
INSERT INTO signalstack.migrations (version, name, checksum)
VALUES (%(version)s::integer, %(name)s::text, %(checksum)s::text);
