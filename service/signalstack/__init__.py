"""SignalStack: event-driven jobs on PostgreSQL. What handlers of your own import is here."""

from signalstack.core.handler import Context, Fail, Postpone, Retry

__all__ = ["Context", "Fail", "Postpone", "Retry"]
