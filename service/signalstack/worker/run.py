"""One run of one job: what its handler may know of it, and the means to stop it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import anyio
import msgspec

from signalstack.core.log import get_logger
from signalstack.core.stage import Span
from signalstack.store.claims import Lease

if TYPE_CHECKING:
    from signalstack.core.log import Log

Stop = Literal["timeout", "shutdown", "lost", "cancelled"]
_log: Final = get_logger("signalstack.job")


class Run(msgspec.Struct, eq=False):
    """The context that a handler gets; `stop` is why the run was told to end, if it was.

    `ends_at` is its deadline on the clock of `time.perf_counter`, which no adjustment moves. A
    struct, since one is made for every job, in a quarter of the time.
    """

    lease: Lease
    scope: anyio.CancelScope
    deadline_at: float
    ends_at: float
    span: Span
    stop: Stop | None = None

    @property
    def job_id(self) -> UUID:
        """The job; the same in every attempt."""
        return self.lease.job_id

    @property
    def user_id(self) -> UUID:
        """The tenant whose job this is."""
        return UUID(bytes=self.lease.user_id)

    @property
    def attempt(self) -> int:
        """1 on the first run."""
        return self.lease.attempt

    @property
    def max_attempts(self) -> int:
        """How many failing runs there may be."""
        return self.lease.max_attempts

    @property
    def postponed_since(self) -> datetime | None:
        """When a run of this job was first put off; None when none was."""
        at = self.lease.postponed_at
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def deadline(self) -> datetime:
        """When the run will be cancelled for taking too long."""
        return datetime.fromtimestamp(self.deadline_at, UTC)

    @property
    def cancelled(self) -> bool:
        """Whether the run should stop."""
        return self.stop is not None or self.scope.cancel_called

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of this run."""
        # Not the lease's own: SQL writes any text there, and only a span takes what is valid.
        return self.span.traceparent

    @property
    def logger(self) -> Log:
        """A logger that carries the job's id and attempt."""
        return _log.having(job_id=str(self.lease.job_id), attempt=self.lease.attempt)

    def end(self, stop: Stop) -> None:
        """Tell the handler to stop; an async one is cancelled where it waits."""
        self.stop = self.stop or stop
        self.scope.cancel()
