-- Daily partitions from today on; see the function for what becomes of rows of other days.
SELECT signalstack.make_partitions(%(days)s) AS made
