"""Doctor: whether a database is fit for SignalStack."""
