-- What putting jobs off and pacing deliveries needs of the tables.

-- When the job was first put off by its handler.
ALTER TABLE signalstack.jobs
ADD COLUMN postponed_since timestamptz;

-- `bucket_full_at` is when the bucket of the endpoint's rate will be full again: all that a token
-- bucket has to remember. `next_slot_at` is the next free place in the line of deliveries that were
-- put off. `held_until` is when the receiver said to come back.
ALTER TABLE signalstack.endpoints
ADD COLUMN bucket_full_at timestamptz,
ADD COLUMN next_slot_at timestamptz,
ADD COLUMN held_until timestamptz;
ALTER TABLE signalstack.endpoints SET (fillfactor = 50);
