-- How long until the next tick of all; the index has it first. Null when nothing is planned.
SELECT extract(EPOCH FROM min(s.next_tick) - clock_timestamp())::double precision AS wait_s
FROM signalstack.schedules AS s
WHERE s.next_tick IS NOT NULL;
