-- Who stores a job by itself takes an invitation within that statement, since calling
-- take_invitation took a seventh of its time. A login that may call it may now also read
-- invitations and take them itself, which is to set their token to nothing; it cannot make up
-- another one.
GRANT SELECT, UPDATE (token) ON signalstack.invitations TO signalstack_service;
GRANT SELECT (id) ON signalstack.workers TO signalstack_service;
ALTER TABLE signalstack.invitations ENABLE ROW LEVEL SECURITY;
CREATE POLICY service ON signalstack.invitations FOR SELECT TO signalstack_service USING (true);
CREATE POLICY take ON signalstack.invitations FOR UPDATE TO signalstack_service
USING (true) WITH CHECK (token IS NULL);
