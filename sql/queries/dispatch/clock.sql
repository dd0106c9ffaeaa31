-- What time it is over there: due times and durations go by one clock, the database's.
SELECT clock_timestamp() AS at
