"""A job's states, the one table of transitions between them, and its shapes."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import msgspec

DEFAULT_QUEUE: Final = "default"
PRIORITY_LIMIT: Final = 1_000
MAX_ATTEMPTS_LIMIT: Final = 100
MAX_DELAY_S: Final = 366 * 86_400.0
MAX_TIMEOUT_S: Final = 86_400.0


class Status(StrEnum):
    """What a caller sees; `scheduled` turns into `pending` by the passing of time alone."""

    SCHEDULED = "scheduled"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Wake(StrEnum):
    """Why a run started when it did: the label that makes lost notifications visible."""

    NOTIFY = "notify"
    POLL = "poll"
    TIMER = "timer"
    RETRY = "retry"
    RESCUE = "rescue"
    BACKLOG = "backlog"


class Watch(IntEnum):
    """Whom a live job's changes are announced to, by NOTIFY."""

    NOBODY = 0
    ITS_END = 1
    EVERY_CHANGE = 2


class Outcome(StrEnum):
    """How one run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    RELEASED = "released"  # handed back unfinished at shutdown
    POSTPONED = "postponed"  # put off by its handler: takes no attempt, and none is kept of it
    LOST = "lost"  # its worker died or lost its lease


TERMINAL: Final = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})
WAITING: Final = frozenset({Status.SCHEDULED, Status.PENDING})
LIVE: Final = WAITING | {Status.RUNNING}

TRANSITIONS: Final[dict[Status, frozenset[Status]]] = {
    Status.SCHEDULED: frozenset({Status.PENDING, Status.CANCELLED}),
    Status.PENDING: frozenset({Status.RUNNING, Status.SCHEDULED, Status.CANCELLED}),
    # Back to pending: handed back at shutdown, or rescued. To scheduled: a retry with backoff, or
    # put off by its handler.
    Status.RUNNING: frozenset({Status.PENDING, Status.SCHEDULED, *TERMINAL}),
    Status.SUCCEEDED: frozenset(),
    # Back to pending: somebody asked for a retry.
    Status.FAILED: frozenset({Status.PENDING}),
    Status.CANCELLED: frozenset({Status.PENDING}),
}
RETRIABLE: Final = frozenset(status for status in TERMINAL if TRANSITIONS[status])


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as callers see it."""

    id: UUID
    type: str
    queue: str
    status: Status
    priority: int
    payload: msgspec.Raw
    run_at: datetime
    attempt: int
    max_attempts: int
    timeout_s: float | None
    idempotency_key: str | None
    event_id: UUID | None
    result: msgspec.Raw  # JSON null while there is none: msgspec cannot decode `Raw | None`
    last_error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was accepted and is not stored yet; its payload is canonical JSON."""

    id: UUID
    type: str
    payload: bytes
    max_attempts: int
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    run_at: datetime | None = None
    delay_s: float | None = None
    timeout_s: float | None = None
    traceparent: str | None = None
    watch: Watch = Watch.NOBODY


class JobRef(msgspec.Struct, frozen=True, kw_only=True):
    """Enough of a job to find it again."""

    id: UUID
    type: str
    queue: str


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller asks for: the body of `POST /v1/jobs`."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    payload: Any = None
    queue: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = DEFAULT_QUEUE
    priority: Annotated[
        int,
        msgspec.Meta(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT, description="Higher ones first."),
    ] = 0
    run_at: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(description="When to start; at once by default."),
    ] = None
    delay_s: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_S)] | None,
        msgspec.Meta(description="In how many seconds to start, instead of `run_at`."),
    ] = None
    max_attempts: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=MAX_ATTEMPTS_LIMIT)] | None,
        msgspec.Meta(description="How many runs there may be; `MAX_ATTEMPTS` by default."),
    ] = None
    timeout_s: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=MAX_TIMEOUT_S)] | None,
        msgspec.Meta(
            description="How many seconds a run may take, up to `MAX_JOB_TIMEOUT`; `JOB_TIMEOUT` "
            "by default."
        ),
    ] = None
    idempotency_key: Annotated[
        Annotated[
            str,
            msgspec.Meta(
                min_length=1,
                max_length=255,
                pattern=r"^[\x21-\x7e]+(?![\s\S])",
                extra={"says": "must be visible ASCII characters, without spaces"},
            ),
        ]
        | None,
        msgspec.Meta(description="The same as the header `Idempotency-Key`."),
    ] = None


def timeout_fault(timeout_s: float | None, most_s: float) -> str | None:
    """Tell why a run must not take so long, if so: the operator says how long any may."""
    if timeout_s is None or timeout_s <= most_s:
        return None
    return f"must be at most {most_s:g}: longer runs are not allowed here (MAX_JOB_TIMEOUT)"


class JobChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may change of a job that has not started: the body of `PATCH /v1/jobs/{id}`.

    What is not named stays; `run_at` null means now.
    """

    json_schema: ClassVar[dict[str, int]] = {"minProperties": 1}

    run_at: Annotated[datetime, msgspec.Meta(tz=True)] | msgspec.UnsetType | None = msgspec.UNSET
    priority: (
        Annotated[int, msgspec.Meta(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT)] | msgspec.UnsetType
    ) = msgspec.UNSET
    payload: Any | msgspec.UnsetType = msgspec.UNSET
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=MAX_ATTEMPTS_LIMIT)] | msgspec.UnsetType = (
        msgspec.UNSET
    )


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a list shows: those that fit everything that is given.

    Created is what `created_at` says: at or after `created_after`, and before `created_before`.
    """

    status: Status | None = None
    type: str | None = None
    queue: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job; it has no outcome while it lasts. `worker` is the id of its process."""

    attempt: int
    worker: UUID | None
    wake: Wake | None
    started_at: datetime
    finished_at: datetime | None
    outcome: Outcome | None
    error: str | None
    result: msgspec.Raw
