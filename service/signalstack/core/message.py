"""A message: what may be sent to whom, how it stands, and how that follows from its job."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from signalstack.core import job
from signalstack.core.phone import check_number

JOB_TYPE: Final = "send_message"
QUEUE: Final = "messages"
MAX_CHARS: Final = 10_000

PhoneNumber = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\+[1-9][0-9]{7,14}(?![\s\S])",
        extra={"says": "must be a phone number in E.164, such as +905551111111"},
        description="E.164: `+`, the country's code and the number, 8 to 15 digits in all.",
    ),
]


class MessageStatus(StrEnum):
    """How a message stands."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ErrorCode(StrEnum):
    """What kept a message from being sent; leads the error of its job, before a colon."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    RATE_LIMITED = "rate_limited"
    REJECTED = "rejected"
    INVALID_RESPONSE = "invalid_response"


# The one table of what a job's status makes of its message; the triggers on jobs keep to it.
OF_JOB: Final = {
    job.Status.SCHEDULED: MessageStatus.PENDING,
    job.Status.PENDING: MessageStatus.PENDING,
    job.Status.RUNNING: MessageStatus.PENDING,
    job.Status.SUCCEEDED: MessageStatus.SENT,
    job.Status.FAILED: MessageStatus.FAILED,
    job.Status.CANCELLED: MessageStatus.CANCELLED,
}


class MessageRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages`, and the payload of the jobs that send."""

    phone_number: PhoneNumber
    content: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=MAX_CHARS,
            description="The text, of `MESSAGE_CHAR_LIMIT` characters (Unicode code points).",
        ),
    ]

    def __post_init__(self) -> None:
        """Raise ValueError, which names the field, when no such number can be."""
        try:
            check_number(self.phone_number)
        except ValueError as error:
            raise ValueError(f"phone_number: {error}") from None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message as its tenant sees it; it has the id of the job that sends it.

    `attempts` counts runs that began. `webhook_message_id` is the receiver's name for it.
    """

    id: UUID
    phone_number: str
    content: str
    status: MessageStatus
    job_id: UUID
    attempts: int
    webhook_message_id: str | None
    sent_at: datetime | None
    last_error: str | None
    error_code: ErrorCode | None
    created_at: datetime
    updated_at: datetime


class MessageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages a list shows: those that fit everything that is given.

    Created is what `created_at` says: at or after `created_after`, and before `created_before`.
    """

    status: MessageStatus | None = None
    phone_number: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages stand alike."""

    status: MessageStatus
    error_code: ErrorCode | None
    messages: int


class MessageStats(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages there have been, by how they stand, and the failed ones by their error.

    `other` are those that failed without an answer's fault, as when their worker died.
    """

    total: int
    by_status: dict[MessageStatus, int]
    by_error_code: dict[str, int]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast messages leave: `batch_size` every `interval_s`, and `workers` of them at once."""

    batch_size: int
    interval_s: float
    workers: int


def payload_type(char_limit: int) -> Any:
    """Make the type of the sender's payloads, whose content has at most so many characters."""
    limited = Annotated[str, msgspec.Meta(min_length=1, max_length=char_limit)]
    return msgspec.defstruct(
        "SendMessage",
        [("content", limited)],
        bases=(MessageRequest,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def queue_fault(job_type: str, queue: str) -> str | None:
    """Tell why a job of this type must not wait in this queue, if so: the pace is the queue's."""
    if job_type == JOB_TYPE and queue != QUEUE:
        return f"{JOB_TYPE} jobs wait in the queue {QUEUE!r} and in no other"
    if job_type != JOB_TYPE and queue == QUEUE:
        return f"the queue {QUEUE!r} is for {JOB_TYPE} jobs: others would hold messages up"
    return None


def summarise(tallies: list[Tally]) -> MessageStats:
    """Add up tallies; every status and code has a figure, if only a zero."""
    by_status = dict.fromkeys(MessageStatus, 0)
    by_code: dict[str, int] = dict.fromkeys([*(code.value for code in ErrorCode), "other"], 0)
    for tally in tallies:
        by_status[tally.status] += tally.messages
        if tally.status is MessageStatus.FAILED:
            by_code[tally.error_code.value if tally.error_code else "other"] += tally.messages
    return MessageStats(total=sum(by_status.values()), by_status=by_status, by_error_code=by_code)
