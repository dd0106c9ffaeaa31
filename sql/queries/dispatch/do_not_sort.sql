-- For this transaction: of two indexes by which a query may reach its rows, the planner is to take
-- the one that has them in order.
SELECT set_config('enable_sort', 'off', true) AS done
