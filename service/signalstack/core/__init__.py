"""Pure rules: what is true of events, jobs, keys and retries without any database or network."""
