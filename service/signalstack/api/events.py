"""Events over HTTP: taking them in, in plain JSON or as CloudEvents, and looking them up."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import anyio
import msgspec

from signalstack.api import body, codec, idempotency, paging
from signalstack.api.cloudevent import CloudEvent
from signalstack.api.operation import JSON, Answer, Bare, Call, Operation
from signalstack.api.paging import PageQuery
from signalstack.core import cloudevent
from signalstack.core.cloudevent import Mode
from signalstack.core.document import canonical
from signalstack.core.errors import (
    InvalidError,
    LateError,
    MalformedError,
    SignalStackError,
    UnavailableError,
    UnsupportedMediaError,
)
from signalstack.core.event import Event, NewEvent
from signalstack.core.event_detail import EventDetail
from signalstack.core.ids import new_id
from signalstack.core.job import JobRef
from signalstack.core.key import Scope
from signalstack.core.pattern import MAX_TYPE
from signalstack.core.stage import EventReceived
from signalstack.usecases import look_up
from signalstack.usecases.accept import AcceptedEvent
from signalstack.usecases.list_events import list_events as list_stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from signalstack.api.headers import Headers

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
CloudEvents = Annotated[list[CloudEvent], msgspec.Meta(max_length=cloudevent.MAX_BATCH)]
_NIL: Final = UUID(int=0)

# These end by a look-ahead: `$` would let a line feed at the end through.
Attribute = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=cloudevent.MAX_ATTRIBUTE,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]+(?![\s\S])",
        extra={"says": "must not contain line feeds or other control characters"},
    ),
]
EventType = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_TYPE,
        pattern=r"^[^\s\x00-\x1f\x7f-\x9f*]+(?![\s\S])",
        extra={
            "says": "must be a type such as order.paid, without spaces, * or control characters"
        },
    ),
]


class EventRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/events` in plain JSON; `id` is the sender's own."""

    type: EventType
    payload: Any = None
    source: Attribute | None = None
    subject: Attribute | None = None
    id: Attribute | None = None
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class ReceivedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `POST /v1/events`: the event and the jobs that it became."""

    id: UUID
    type: str
    created_at: datetime
    jobs: list[JobRef]


class ReceivedEvents(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a batch, in its order."""

    events: list[ReceivedEvent]


class EventQuery(PageQuery, frozen=True, kw_only=True):
    """Which events are wanted: those that fit all of it."""

    type: Annotated[EventType | None, msgspec.Meta(description="Events of exactly this type.")] = (
        None
    )
    created_after: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(
            description="Events created at this moment or later (RFC 3339; `+` is `%2B`)."
        ),
    ] = None
    created_before: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(description="Events created before this moment (RFC 3339; `+` is `%2B`)."),
    ] = None


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of events, newest first; the last one has no cursor."""

    data: list[Event]
    next_cursor: str | None


async def receive_events(call: Call[bytes, None]) -> Answer:
    """Accept an event or a batch; one that is known answers with what it became then.

    An event is known by its sender's `source` and `id`, or else by the `Idempotency-Key`. Of a
    batch that takes too long to match a part is stored: 503 says how many, and the batch sent again
    goes on from there. Besides the media types below CloudEvents come in binary mode: attributes as
    headers `ce-…`, and data of any media type as the body.
    """
    try:
        mode, events = _read(call.exchange.headers, call.body)
        key = idempotency.key_of(call.exchange.headers)
        if mode is Mode.BATCH:
            return _answer_batch(await _accept_all(call, events, key))
        return _answer(await _accept(call, events[0], key))
    except (InvalidError, MalformedError, UnsupportedMediaError):
        call.parts.observer.tell(EventReceived(outcome="rejected"))
        raise


async def list_events(call: Call[None, EventQuery]) -> Answer:
    """List a page of the tenant's events."""
    query = call.query
    found = await list_stored(
        call.parts.pool,
        call.user_id,
        type_=query.type,
        created_after=query.created_after,
        created_before=query.created_before,
        before=paging.position(call, "events"),
        limit=query.limit + 1,
    )
    data, next_cursor = paging.split(call, "events", found)
    return Answer(body=EventPage(data=data, next_cursor=next_cursor))


async def get_event(call: Bare) -> Answer:
    """Look one event up, with where its jobs stand."""
    return Answer(body=await look_up.get_event(call.parts.pool, call.user_id, call.id))


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/events",
        summary="Send an event, or a batch of CloudEvents",
        handler=receive_events,
        body=bytes,
        # In binary mode a CloudEvent's data is of any media type; `_read` judges all of them.
        media=(),
        decode=bytes,
        shapes={JSON: EventRequest, STRUCTURED: CloudEvent, BATCH: CloudEvents},
        answers={201: ReceivedEvent | ReceivedEvents, 200: ReceivedEvent | ReceivedEvents},
        reads=("Idempotency-Key",),
        tells={201: ("Location",), 200: ("Location", "Idempotent-Replayed")},
        conflicts="The event was received before, and was removed since.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="GET",
        path="/events",
        summary="List events, newest first",
        handler=list_events,
        query=EventQuery,
        answers={200: EventPage},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/events/{id}",
        summary="Get an event with its jobs",
        handler=get_event,
        answers={200: EventDetail},
        needs=Scope.READ,
    ),
)


def to_event(request: EventRequest) -> NewEvent:
    """Make an event of what a caller sent in plain JSON."""
    return NewEvent(
        id=new_id(),
        type=request.type,
        payload=canonical(request.payload),
        source=request.source,
        subject=request.subject,
        external_id=request.id,
        occurred_at=codec.in_utc(request.occurred_at, "/occurred_at"),
    )


def _read(headers: Headers, content: bytes) -> tuple[Mode | None, list[NewEvent]]:
    content_type = headers.get("content-type")
    mode = cloudevent.mode(content_type, headers)
    if mode is not None:
        return mode, cloudevent.read(mode, content_type, headers, content)
    body.check_media(headers, (JSON, STRUCTURED, BATCH))
    return None, [to_event(codec.decode(content, EventRequest))]


async def _accept(
    call: Call[bytes, None],
    event: NewEvent,
    key: str | None,
    may_begin: Callable[[], bool] = lambda: True,
) -> AcceptedEvent:
    unnamed = msgspec.structs.replace(event, id=_NIL)
    return await call.parts.acceptor.accept_event(
        call.user_id,
        event,
        idempotency_key=key,
        fingerprint=None if key is None else idempotency.fingerprint(unnamed),
        traceparent=call.exchange.traceparent,
        may_begin=may_begin,
    )


async def _accept_all(
    call: Call[bytes, None], events: list[NewEvent], key: str | None
) -> list[AcceptedEvent]:
    """Accept events side by side, so that they share commits.

    When one fails others may be stored; sending the batch again is safe, for they are known.

    Raises:
        UnavailableError: matching all of them takes longer than a request may; those that are
            stored are counted, and a repeat goes on behind them.
    """
    if key is not None:
        raise InvalidError("a batch takes no Idempotency-Key: its events have source and id")
    outcomes: list[AcceptedEvent | SignalStackError] = []
    may_begin = _allow_for(call.parts.limits.request_timeout_s / 2)

    async def accept(n: int, event: NewEvent) -> None:
        try:
            outcomes[n] = await _accept(call, event, None, may_begin)
        except SignalStackError as error:
            outcomes[n] = error

    outcomes = [SignalStackError("not accepted")] * len(events)
    async with anyio.create_task_group() as tasks:
        for n, event in enumerate(events):
            tasks.start_soon(accept, n, event)
    accepted: list[AcceptedEvent] = []
    for outcome in outcomes:
        if isinstance(outcome, AcceptedEvent):
            accepted.append(outcome)
        elif not isinstance(outcome, LateError):
            raise outcome
    if len(accepted) < len(events):
        raise UnavailableError(_tell_late(accepted, of=len(events)))
    return accepted


def _allow_for(seconds: float) -> Callable[[], bool]:
    """Make what allows things to be begun for a while; and the first one always.

    So each repeat of a batch comes further, however long it takes to find what is stored.
    """
    until, begun = anyio.current_time() + seconds, False

    def may_begin() -> bool:
        nonlocal begun
        may = not begun or anyio.current_time() < until
        begun = True
        return may

    return may_begin


def _tell_late(accepted: list[AcceptedEvent], *, of: int) -> str:
    now = sum(not one.replayed for one in accepted)
    return (
        f"the filters and templates of the subscriptions take long for these events: {now} were "
        f"stored in the time of a request, {len(accepted)} of {of} with earlier ones; send the "
        f"batch again, which goes on from there, or batches of at most {max(now, 1)}"
    )


def _answer(accepted: AcceptedEvent) -> Answer:
    location = (b"location", f"/v1/events/{accepted.id}".encode("ascii"))
    if accepted.replayed:
        return Answer(body=_show(accepted), headers=[location, idempotency.REPLAYED])
    return Answer(status=201, body=_show(accepted), headers=[location])


def _answer_batch(accepted: list[AcceptedEvent]) -> Answer:
    shown = ReceivedEvents(events=[_show(one) for one in accepted])
    if all(one.replayed for one in accepted):
        return Answer(body=shown, headers=[idempotency.REPLAYED] if accepted else ())
    return Answer(status=201, body=shown)


def _show(accepted: AcceptedEvent) -> ReceivedEvent:
    return ReceivedEvent(
        id=accepted.id, type=accepted.type, created_at=accepted.created_at, jobs=accepted.jobs
    )
