DROP POLICY take ON signalstack.invitations;
DROP POLICY service ON signalstack.invitations;
ALTER TABLE signalstack.invitations DISABLE ROW LEVEL SECURITY;
REVOKE SELECT (id) ON signalstack.workers FROM signalstack_service;
REVOKE SELECT, UPDATE (token) ON signalstack.invitations FROM signalstack_service;
