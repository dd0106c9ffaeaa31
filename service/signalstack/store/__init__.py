"""The only user of psycopg: connections, queries, and one module per table."""
