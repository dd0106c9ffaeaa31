ALTER TABLE signalstack.endpoints RESET (fillfactor);
ALTER TABLE signalstack.endpoints
DROP COLUMN held_until,
DROP COLUMN next_slot_at,
DROP COLUMN bucket_full_at;

ALTER TABLE signalstack.jobs
DROP COLUMN postponed_since;
