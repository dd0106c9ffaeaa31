-- What policies, statements and triggers call for tenants and the API. Usually everybody may, but
-- a database may let nobody (ALTER DEFAULT PRIVILEGES … REVOKE): there every request was refused.
-- Not those with their owner's rights: the API alone takes invitations, and triggers note acts.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA signalstack TO signalstack_tenant, signalstack_service;
REVOKE EXECUTE ON FUNCTION signalstack.take_invitation FROM signalstack_tenant;
REVOKE EXECUTE ON FUNCTION signalstack.note_act FROM signalstack_tenant, signalstack_service;
