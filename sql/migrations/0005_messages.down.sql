DROP TRIGGER end_message ON signalstack.finished_jobs;
DROP TRIGGER begin_message ON signalstack.jobs;
DROP FUNCTION signalstack.end_message();
DROP FUNCTION signalstack.begin_message();
DROP FUNCTION signalstack.message_error_code(text);
DROP TABLE signalstack.message_tallies;
DROP TABLE signalstack.message_deltas;
DROP TABLE signalstack.messages;
DELETE FROM signalstack.queues
WHERE user_id = '00000000-0000-0000-0000-000000000000' AND name = 'messages';
ALTER TABLE signalstack.queues DROP COLUMN turned_at;
