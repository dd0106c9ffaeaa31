DROP TRIGGER change_message ON signalstack.jobs;
DROP FUNCTION signalstack.change_message();
ALTER TABLE signalstack.queues DROP COLUMN turn;
