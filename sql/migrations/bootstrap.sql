-- Where migrations are noted. CREATE … IF NOT EXISTS would ask for rights on what exists already.
DO $$
BEGIN
    IF to_regnamespace('signalstack') IS NULL THEN
        CREATE SCHEMA signalstack;
    END IF;
    IF to_regclass('signalstack.migrations') IS NULL THEN
        CREATE TABLE signalstack.migrations (
            version integer PRIMARY KEY,
            name text NOT NULL,
            checksum text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        );
    END IF;
END
$$;
