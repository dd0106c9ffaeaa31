-- What the role may do with our schema as a whole; null while there is none.
SELECT
    current_user::text AS role,
    has_database_privilege(current_database(), 'CREATE') AS make_schema,
    has_schema_privilege(to_regnamespace('signalstack')::oid, 'USAGE') AS enter,
    has_schema_privilege(to_regnamespace('signalstack')::oid, 'CREATE') AS make_tables;
