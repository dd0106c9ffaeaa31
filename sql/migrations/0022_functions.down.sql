REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA signalstack FROM signalstack_tenant, signalstack_service;
GRANT EXECUTE ON FUNCTION signalstack.take_invitation TO signalstack_service;
