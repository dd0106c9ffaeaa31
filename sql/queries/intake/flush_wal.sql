-- Commit a message to nobody: it writes to the log, so this waits until all commits before it are
-- on disk (and on synchronous standbys).
SELECT pg_logical_emit_message(true, 'signalstack', '')
