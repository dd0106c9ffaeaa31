DROP FUNCTION signalstack.free_slots(uuid[], text[]);
