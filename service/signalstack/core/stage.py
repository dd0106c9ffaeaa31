"""The stages of an event's life as typed facts, and the observer that they are told to.

Durations are seconds; `at` and `due_at` are Unix times by the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol
from uuid import UUID

import msgspec

from signalstack.core.job import Outcome, Wake
from signalstack.core.reading import QueueReading, ServerReading, TableReading

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class _Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A thing that happened, told once."""


class Requested(_Fact, frozen=True, kw_only=True):
    """An HTTP request was answered; `route` is the pattern, never the path."""

    method: str
    route: str
    status: int
    duration_s: float


class EventReceived(_Fact, frozen=True, kw_only=True):
    """An event was accepted, was a repeat, or was refused."""

    outcome: Literal["accepted", "duplicate", "rejected"]


class Enqueued(_Fact, frozen=True, kw_only=True):
    """Jobs of one queue and type were committed."""

    queue: str
    type: str
    count: int


class Flushed(_Fact, frozen=True, kw_only=True):
    """A group of writes was committed in one transaction."""

    writes: int
    jobs: int
    duration_s: float


class Woken(_Fact, frozen=True, kw_only=True):
    """The claimer woke."""

    cause: Wake


class Claimed(_Fact, frozen=True, kw_only=True):
    """A claim came back; `wakes` says how many of its jobs start for which reason."""

    count: int
    limit: int
    duration_s: float
    wakes: Mapping[Wake, int] = {}


class HandedOver(_Fact, frozen=True, kw_only=True):
    """A job was handed to us by who stored it: `taken`, or `lost` with its bell."""

    outcome: Literal["taken", "lost"]


class Serving(_Fact, frozen=True, kw_only=True):
    """A worker begins: the job types that it knows, and its queues; no queues means all of them."""

    queues: tuple[str, ...]
    types: tuple[str, ...]


class Started(_Fact, frozen=True, kw_only=True):
    """A handler is about to run."""

    job: UUID
    queue: str
    type: str
    attempt: int
    wake: Wake
    due_at: float
    at: float


class Finished(_Fact, frozen=True, kw_only=True):
    """A handler ended; nothing is recorded in the database yet."""

    job: UUID
    queue: str
    type: str
    attempt: int
    outcome: Outcome
    duration_s: float


class Settled(_Fact, frozen=True, kw_only=True):
    """A batch of outcomes was committed: `jobs` are recorded, `stale` were no longer ours.

    `ended` counts what was recorded by queue, type and outcome, be it in a batch before whose
    answer was lost.
    """

    jobs: tuple[UUID, ...]
    stale: int
    duration_s: float
    ended: Mapping[tuple[str, str, Outcome], int] = {}


class Closed(_Fact, frozen=True, kw_only=True):
    """Jobs ended that no worker settled: cancelled as they waited, or lost for the last time."""

    queue: str
    type: str
    outcome: Outcome
    count: int


class Rescued(_Fact, frozen=True, kw_only=True):
    """Runs of dead workers were taken back."""

    count: int


class Queried(_Fact, frozen=True, kw_only=True):
    """A statement ended; `query` is its file's name."""

    query: str
    duration_s: float


class ListenerChanged(_Fact, frozen=True, kw_only=True):
    """A listening connection came up or went down; a process may have several, by name.

    One that is not `wanted` polls because it was told to, and is never up.
    """

    name: str
    up: bool
    reason: str
    wanted: bool = True


class DatabaseReached(_Fact, frozen=True, kw_only=True):
    """A standing connection to PostgreSQL was made (`up`), or is lost; by the name of its link."""

    name: str
    up: bool


class Heard(_Fact, frozen=True, kw_only=True):
    """A notification came in, be it our own canary; `at` is Unix time by our own clock."""

    at: float


class RoundTripped(_Fact, frozen=True, kw_only=True):
    """A canary notification came back to its sender."""

    duration_s: float


class SlotsChanged(_Fact, frozen=True, kw_only=True):
    """How many of the worker's slots are busy."""

    busy: int
    free: int


class PoolSampled(_Fact, frozen=True, kw_only=True):
    """How many pooled connections are in each state."""

    used: int
    idle: int
    waiting: int


class Delivered(_Fact, frozen=True, kw_only=True):
    """A webhook was answered, or was not; no duration where nothing was sent."""

    outcome: Literal["delivered", "rejected", "failed", "blocked", "gone", "timeout"]
    duration_s: float | None = None


class PutOff(_Fact, frozen=True, kw_only=True):
    """A delivery has to wait for its endpoint's rate, or for as long as its receiver said."""

    job: UUID
    wait_s: float


class MessageTried(_Fact, frozen=True, kw_only=True):
    """The receiver of messages took one, or why it did not."""

    outcome: Literal[
        "sent", "timeout", "connection", "rate_limited", "rejected", "invalid_response"
    ]


class CacheAsked(_Fact, frozen=True, kw_only=True):
    """Redis was asked for a sent message; an error is also that it was left alone."""

    outcome: Literal["hit", "miss", "error"]


class LeaderChanged(_Fact, frozen=True, kw_only=True):
    """This process became, or ceased to be, the maintenance leader."""

    leading: bool


class LoopLagged(_Fact, frozen=True, kw_only=True):
    """A timer of the event loop fired, so much later than it should have."""

    lag_s: float


class ChoreEnded(_Fact, frozen=True, kw_only=True):
    """A chore of the maintenance leader was done once, or failed and will be tried again."""

    chore: str
    outcome: Literal["done", "failed"]
    duration_s: float


class Removed(_Fact, frozen=True, kw_only=True):
    """Rows that were kept long enough are gone; those of a dropped partition are estimated."""

    table: str
    how: Literal["dropped_partition", "deleted"]
    count: int


class QueuesRead(_Fact, frozen=True, kw_only=True):
    """The leader has looked at the queues and workers, at the Unix time `at`."""

    at: float
    queues: tuple[QueueReading, ...]
    workers_alive: int
    workers_stale: int


class DatabaseRead(_Fact, frozen=True, kw_only=True):
    """The leader has looked at the database."""

    server: ServerReading
    tables: tuple[TableReading, ...]


class Ticked(_Fact, frozen=True, kw_only=True):
    """Ticks of a schedule were dealt with; `lag_s` is since the last of them came due."""

    outcome: Literal["enqueued", "skipped", "duplicate", "rejected"]
    count: int
    lag_s: float


Fact = (
    Requested
    | EventReceived
    | Enqueued
    | Flushed
    | Woken
    | Claimed
    | HandedOver
    | Serving
    | Started
    | Finished
    | Settled
    | Closed
    | Rescued
    | Queried
    | ListenerChanged
    | DatabaseReached
    | Heard
    | RoundTripped
    | SlotsChanged
    | PoolSampled
    | Delivered
    | PutOff
    | MessageTried
    | CacheAsked
    | LeaderChanged
    | LoopLagged
    | ChoreEnded
    | Removed
    | QueuesRead
    | DatabaseRead
    | Ticked
)

SpanKind = Literal["server", "producer", "consumer", "client"]
Attributes = Mapping[str, str | float | bool]


class Span(Protocol):
    """An open span, or nothing when traces are off."""

    @property
    def recorded(self) -> bool:
        """Whether anybody will see its attributes."""
        ...

    @property
    def traceparent(self) -> str | None:
        """W3C trace context to hand on; None when there is nothing to hand on."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Add attributes, named as OpenTelemetry's semantic conventions name them."""
        ...

    def fail(self, reason: str) -> None:
        """Mark the span as an error."""
        ...


class Observer(Protocol):
    """What is told everything that happens; the only seam for metrics, traces and tests."""

    def tell(self, fact: Fact) -> None:
        """Take note of a fact; must neither block nor raise."""
        ...

    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None = None,
        link: str | None = None,
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Open a span as the current one.

        `parent` and `link` are W3C `traceparent` values of a remote span; anything else is ignored.
        Without them a producer or client span is a child of the current one, a server or consumer
        span begins a trace. Producers and consumers are named `send <queue>` and `process <queue>`:
        the messaging attributes that follow from the name are added.
        """
        ...
