"""A subscription: which events a tenant wants turned into which jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from signalstack.core.errors import Fault
from signalstack.core.job import (
    DEFAULT_QUEUE,
    MAX_ATTEMPTS_LIMIT,
    MAX_DELAY_S,
    PRIORITY_LIMIT,
)
from signalstack.core.line import Line
from signalstack.core.pattern import MAX_TYPE

MAX_SUBSCRIPTIONS: Final = 1_000
# What a tenant's filters and jobs may have together, as PostgreSQL writes them: compiled they take
# up to a hundred times as much memory.
MAX_BYTES: Final = 1_048_576

# By either's order of keys.
_UNFILLED: Final = (b'{"template_error"', b'{"subscription_id"')

EventType = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_TYPE,
        description="A type such as `order.paid`, or the beginning of one and `*`.",
    ),
]
Filter = Annotated[
    dict[str, Any] | None,
    msgspec.Meta(
        description="A pattern that the event's payload must match, in the form that EventBridge "
        "made known; null takes all."
    ),
]


class JobTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What job to make of a matching event; without a payload template it gets the event itself."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    queue: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = DEFAULT_QUEUE
    payload: Annotated[
        Any,
        msgspec.Meta(
            description='A template: each `{"$": "<JMESPath>"}` in it reads the event, as '
            "`payload.customer` or `id` do; what has none must be what the type takes."
        ),
    ] = None
    priority: Annotated[int, msgspec.Meta(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT)] = 0
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=MAX_ATTEMPTS_LIMIT)] | None = None
    delay_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_S)] | None = None


class SubscriptionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller asks for: the body of `POST /v1/subscriptions`."""

    name: Line
    event_type: EventType
    job: JobTemplate
    filter: Filter = None
    active: bool = True


class SubscriptionChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /v1/subscriptions/{id}`: what is not named stays; `job` changes whole."""

    name: Line | msgspec.UnsetType = msgspec.UNSET
    event_type: EventType | msgspec.UnsetType = msgspec.UNSET
    job: JobTemplate | msgspec.UnsetType = msgspec.UNSET
    filter: Filter | msgspec.UnsetType = msgspec.UNSET
    active: bool | msgspec.UnsetType = msgspec.UNSET


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as its owner sees it; `filter` is JSON null when there is none."""

    id: UUID
    name: str
    event_type: str
    filter: Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": dict[str, Any] | None})]
    job: Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": JobTemplate})]
    active: bool
    created_at: datetime
    updated_at: datetime


class MatchingSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """An active subscription as matching needs it; `filter` is None when there is none.

    `source` is what filter and job were read from.
    """

    id: UUID
    event_type: str
    filter: dict[str, Any] | None
    job: JobTemplate
    source: bytes


class PlannedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that would be made; `errors` is what its type would find wrong with the payload."""

    type: str
    queue: str
    payload: msgspec.Raw
    priority: int
    max_attempts: int | None
    delay_s: float | None
    errors: list[Fault]


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription would make of an event; `reason` tells why not, or what else stops it."""

    matches: bool
    reason: str | None
    jobs: list[PlannedJob]


class Unfilled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload of a job whose subscription could not fill it in: the job fails, and says so.

    The event is sound and must be kept, and its owner looks for failures among jobs.
    """

    template_error: str
    subscription_id: UUID


def read_unfilled(payload: bytes) -> str | None:
    """Tell why a payload was not filled in; None where it was."""
    if not payload.startswith(_UNFILLED):
        return None
    try:
        return msgspec.json.decode(payload, type=Unfilled).template_error
    except msgspec.DecodeError:
        return None
