"""A live view of running processes in the terminal, from their `/metrics` alone."""
