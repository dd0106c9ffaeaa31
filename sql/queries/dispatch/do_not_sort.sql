-- For this transaction: of two indexes by which a query may reach its rows, the planner is to take
-- the one that has them in order. Where there is none, before PostgreSQL 18, the plan looks so dear
-- that it would be compiled.
SELECT
    set_config('enable_sort', 'off', true),
    set_config('enable_incremental_sort', 'off', true),
    set_config('jit', 'off', true)
