"""What comes back: jobs, events and refusals as typed structs. Unknown fields are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

FINAL: Final = frozenset({"succeeded", "failed", "cancelled"})


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stood when it was asked for."""

    id: UUID
    type: str
    queue: str
    status: str
    priority: int
    payload: Any
    run_at: datetime
    attempt: int
    max_attempts: int
    timeout_s: float | None
    idempotency_key: str | None
    event_id: UUID | None
    result: Any
    last_error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime

    @property
    def is_final(self) -> bool:
        """Whether it has succeeded, failed or been cancelled."""
        return self.status in FINAL


class JobRef(msgspec.Struct, frozen=True, kw_only=True):
    """Enough of a job to find it again."""

    id: UUID
    type: str
    queue: str


class ReceivedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was taken in, and the jobs that it became."""

    id: UUID
    type: str
    created_at: datetime
    jobs: list[JobRef]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of jobs, newest first."""

    data: list[Job]
    next_cursor: str | None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs in the order in which they were given."""

    jobs: list[Job]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a body; `pointer` is an RFC 6901 JSON Pointer into it."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal (RFC 9457)."""

    status: int
    title: str
    type: str = "about:blank"
    detail: str = ""
    instance: str = ""
    request_id: str | None = None
    errors: tuple[Fault, ...] = ()


class ClientError(Exception):
    """Root of all that this client raises."""


class ApiError(ClientError):
    """The API refused; `problem` says all that it told, the most used of it stands here too."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}".rstrip(": "))
        self.problem = problem
        self.status = problem.status
        self.title = problem.title
        self.detail = problem.detail
        self.errors = problem.errors
        self.request_id = problem.request_id


class UnreachableError(ClientError):
    """No answer came; whether the request took effect is not known."""


class WebhookError(ClientError):
    """A webhook was not signed with the secret, or not lately."""
