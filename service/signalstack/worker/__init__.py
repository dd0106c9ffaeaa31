"""Claim, execute, settle: one process's share of the work."""
