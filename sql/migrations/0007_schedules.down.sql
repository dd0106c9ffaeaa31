-- Schedules and their ticks go; jobs that they made stay.
DROP TABLE signalstack.schedule_ticks;
DROP TABLE signalstack.schedules;
