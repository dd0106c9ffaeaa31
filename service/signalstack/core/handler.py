"""What a job type is: payload struct, function that runs it, how a run says what comes next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Retry(Exception):  # noqa: N818 - an instruction to the worker, raised by handlers
    """Raise it to have the job run again.

    Args:
        reason: what went wrong, kept as the attempt's error.
        after_s: seconds to wait; None means the usual backoff.
    """

    def __init__(self, reason: str = "retry requested", *, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


class Fail(Exception):  # noqa: N818 - an instruction to the worker, raised by handlers
    """Raise it to fail the job for good, whatever attempts are left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Postpone(Exception):  # noqa: N818 - an instruction to the worker, raised by handlers
    """Raise it when this is not the time: the job runs again later and no attempt is used up.

    For work that has not begun, say because of a rate limit. A job may be put off for a week,
    counted from the first time; from then on this is the same as Retry.

    Args:
        after_s: seconds to wait, at least 0.01 and at most a day.
        reason: why, kept as the job's `last_error` while it waits.
    """

    def __init__(self, reason: str = "put off", *, after_s: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


class Logger(Protocol):
    """Logs a constant event name and fields, already bound to the job."""

    def info(self, event: str, /, **fields: object) -> None:
        """Log at level info."""
        ...

    def warning(self, event: str, /, **fields: object) -> None:
        """Log at level warning."""
        ...

    def error(self, event: str, /, **fields: object) -> None:
        """Log at level error."""
        ...


class Context(Protocol):
    """What a handler may know of the run that it is in."""

    @property
    def job_id(self) -> UUID:
        """The job; the same in every attempt."""
        ...

    @property
    def user_id(self) -> UUID:
        """The tenant whose job this is."""
        ...

    @property
    def attempt(self) -> int:
        """1 on the first run."""
        ...

    @property
    def max_attempts(self) -> int:
        """How many failing runs there may be."""
        ...

    @property
    def postponed_since(self) -> datetime | None:
        """When a run of this job was first put off by Postpone; None when none was (aware)."""
        ...

    @property
    def deadline(self) -> datetime:
        """When the run will be cancelled for taking too long (aware)."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether the run should stop: timed out, cancelled, or its worker is shutting down.

        For plain functions, which run in a thread and cannot be interrupted; async ones are
        cancelled.
        """
        ...

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of this run, for calls that the handler makes."""
        ...

    @property
    def logger(self) -> Logger:
        """A logger that carries job, attempt and trace ids."""
        ...


Run = Callable[[Any, Context], Awaitable[object] | object]


class JobType(msgspec.Struct, frozen=True, kw_only=True):
    """A registered job type; `payload` is the msgspec type that a job's payload must fit."""

    name: str
    payload: Any
    run: Run
    is_async: bool


Registry = dict[str, JobType]
