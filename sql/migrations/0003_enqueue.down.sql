DROP FUNCTION signalstack.enqueue(
    text, text, jsonb, text, integer, timestamptz, integer, double precision, text, text
);
DROP FUNCTION signalstack.job_fault(
    text, jsonb, integer, timestamptz, integer, double precision, text
);
DROP FUNCTION signalstack.new_id();
