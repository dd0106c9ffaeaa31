-- Take a partition out of its table, where it still is one.
SELECT signalstack.detach_partition(%(parent)s::text, %(child)s::text) AS detached;
