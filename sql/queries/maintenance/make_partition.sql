-- Make one day's partition of one table; see the function for what becomes of rows of that day.
SELECT signalstack.make_partition(%(parent)s::text, %(day)s::text::date) AS made;
