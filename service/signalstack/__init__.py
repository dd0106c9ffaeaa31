"""SignalStack: event-driven jobs on PostgreSQL."""
