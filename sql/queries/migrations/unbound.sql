-- A migration may take longer than the role's other statements.
SELECT set_config('statement_timeout', '0', false) AS value;
