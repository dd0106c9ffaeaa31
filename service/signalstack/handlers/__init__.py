"""The job types on board, and the registry that the user's own join."""
