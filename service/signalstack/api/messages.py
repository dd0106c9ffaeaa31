"""Messages over HTTP: accept one, look one up, list them, count them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads it when it runs
from typing import Annotated, Final, TypeVar

import msgspec

from signalstack.api import idempotency, paging
from signalstack.api.operation import Answer, Bare, Call, Operation
from signalstack.api.paging import PageQuery
from signalstack.core.key import Scope
from signalstack.core.message import (
    Message,
    MessageFilter,
    MessageRequest,
    MessageStats,
    MessageStatus,
    PhoneNumber,
)
from signalstack.usecases import messages

_LIST: Final = "messages"
_SENT: Final = "messages/sent"


class SentQuery(PageQuery, frozen=True, kw_only=True):
    """Which sent messages are wanted: those that fit all of it."""

    phone_number: Annotated[
        PhoneNumber | None, msgspec.Meta(description="Messages to this number; `+` is `%2B`.")
    ] = None
    created_after: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(
            description="Messages created at this moment or later (RFC 3339; `+` is `%2B`)."
        ),
    ] = None
    created_before: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(description="Messages created before this moment (RFC 3339; `+` is `%2B`)."),
    ] = None


class MessageQuery(SentQuery, frozen=True, kw_only=True):
    """Which messages are wanted: those that fit all of it."""

    status: Annotated[
        MessageStatus | None, msgspec.Meta(description="Messages of this status.")
    ] = None


QueryT = TypeVar("QueryT", bound=SentQuery)


class MessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of messages, newest first; the last one has no cursor."""

    data: list[Message]
    next_cursor: str | None


async def create_message(call: Call[MessageRequest, None]) -> Answer:
    """Accept a message; it leaves when its turn comes, first come first served.

    The same `Idempotency-Key` and body again answers 200 with the message there is.
    """
    key = idempotency.key_of(call.exchange.headers)
    accepted = await messages.accept(
        call.parts.pool,
        call.parts.acceptor,
        call.user_id,
        call.body,
        idempotency_key=key,
        fingerprint=None if key is None else idempotency.fingerprint(call.body),
        traceparent=call.exchange.traceparent,
    )
    location = (b"location", f"/v1/messages/{accepted.message.id}".encode("ascii"))
    if accepted.replayed:
        return Answer(body=accepted.message, headers=[location, idempotency.REPLAYED])
    return Answer(status=201, body=accepted.message, headers=[location])


async def get_message(call: Bare) -> Answer:
    """Look one message up."""
    parts = call.parts
    found = await messages.look_up(parts.pool, parts.message_cache, call.user_id, call.id)
    return Answer(body=found)


async def list_messages(call: Call[None, MessageQuery]) -> Answer:
    """List a page of the tenant's messages."""
    return await _list(call, _LIST, call.query.status)


async def list_sent(call: Call[None, SentQuery]) -> Answer:
    """List a page of the messages that were sent."""
    return await _list(call, _SENT, MessageStatus.SENT)


async def count_messages(call: Bare) -> Answer:
    """Count the tenant's messages from the first one on, those forgotten since included."""
    return Answer(body=await messages.stats(call.parts.pool, call.user_id))


# What a path could take for an id comes before the path that has one.
OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/messages",
        summary="Have a message sent to a phone number",
        handler=create_message,
        body=MessageRequest,
        answers={201: Message, 200: Message},
        reads=("Idempotency-Key",),
        tells={201: ("Location",), 200: ("Location", "Idempotent-Replayed")},
        conflicts="The Idempotency-Key made a message that was removed since.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="GET",
        path="/messages",
        summary="List messages, newest first",
        handler=list_messages,
        query=MessageQuery,
        answers={200: MessagePage},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/messages/sent",
        summary="List the messages that were sent, newest first",
        handler=list_sent,
        query=SentQuery,
        answers={200: MessagePage},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/messages/stats",
        summary="Count messages by status and by error",
        handler=count_messages,
        answers={200: MessageStats},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/messages/{id}",
        summary="Get a message",
        handler=get_message,
        answers={200: Message},
        needs=Scope.READ,
    ),
)


async def _list(call: Call[None, QueryT], what: str, status: MessageStatus | None) -> Answer:
    query = call.query
    wanted = MessageFilter(
        status=status,
        phone_number=query.phone_number,
        created_after=query.created_after,
        created_before=query.created_before,
    )
    found = await messages.list_page(
        call.parts.pool,
        call.user_id,
        wanted,
        below=paging.position(call, what),
        limit=query.limit + 1,
    )
    page, cursor = paging.split(call, what, found)
    return Answer(body=MessagePage(data=page, next_cursor=cursor))
