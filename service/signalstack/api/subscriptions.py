"""Subscriptions over HTTP: which events become which jobs."""

from __future__ import annotations

from typing import Final

import msgspec

from signalstack.api import paging
from signalstack.api.events import EventRequest, to_event
from signalstack.api.operation import Answer, Bare, Call, Operation
from signalstack.api.paging import PageQuery
from signalstack.core.key import Scope
from signalstack.core.subscription import (
    Rehearsal,
    Subscription,
    SubscriptionChange,
    SubscriptionRequest,
)
from signalstack.usecases import rehearse, subscribe


class SubscriptionPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of subscriptions, oldest first."""

    data: list[Subscription]
    next_cursor: str | None


async def create_subscription(call: Call[SubscriptionRequest, None]) -> Answer:
    """Check and keep a subscription."""
    parts = call.parts
    made = await subscribe.create(parts.pool, call.user_id, call.body, registry=parts.registry)
    location = (b"location", f"/v1/subscriptions/{made.id}".encode("ascii"))
    return Answer(status=201, body=made, headers=[location])


async def list_subscriptions(call: Call[None, PageQuery]) -> Answer:
    """List a page of the tenant's subscriptions."""
    found = await subscribe.list_page(
        call.parts.pool,
        call.user_id,
        limit=call.query.limit + 1,
        after=paging.position(call, "subscriptions"),
    )
    data, next_cursor = paging.split(call, "subscriptions", found)
    return Answer(body=SubscriptionPage(data=data, next_cursor=next_cursor))


async def get_subscription(call: Bare) -> Answer:
    """Look one subscription up."""
    return Answer(body=await subscribe.get(call.parts.pool, call.user_id, call.id))


async def change_subscription(call: Call[SubscriptionChange, None]) -> Answer:
    """Change what is named of a subscription; events from then on are matched by it."""
    parts = call.parts
    changed = await subscribe.change(
        parts.pool, call.user_id, call.id, call.body, registry=parts.registry
    )
    return Answer(body=changed)


async def test_subscription(call: Call[EventRequest, None]) -> Answer:
    """Show what an event would become; nothing is stored."""
    parts = call.parts
    shown = await rehearse.rehearse(
        parts.pool, call.user_id, call.id, to_event(call.body), registry=parts.registry
    )
    return Answer(body=shown)


async def delete_subscription(call: Bare) -> Answer:
    """Delete a subscription; jobs that it made before stay."""
    await subscribe.delete(call.parts.pool, call.user_id, call.id)
    return Answer(status=204)


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/subscriptions",
        summary="Subscribe to events",
        handler=create_subscription,
        body=SubscriptionRequest,
        answers={201: Subscription},
        tells={201: ("Location",)},
        conflicts="The name is in use, or the tenant has as many subscriptions as it may.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="GET",
        path="/subscriptions",
        summary="List subscriptions",
        handler=list_subscriptions,
        query=PageQuery,
        answers={200: SubscriptionPage},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/subscriptions/{id}",
        summary="Get a subscription",
        handler=get_subscription,
        answers={200: Subscription},
        needs=Scope.READ,
    ),
    Operation(
        method="PATCH",
        path="/subscriptions/{id}",
        summary="Change a subscription",
        handler=change_subscription,
        body=SubscriptionChange,
        answers={200: Subscription},
        conflicts="The name is in use.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/subscriptions/{id}/test",
        summary="Show what a subscription would make of an event",
        handler=test_subscription,
        body=EventRequest,
        answers={200: Rehearsal},
        needs=Scope.READ,
    ),
    Operation(
        method="DELETE",
        path="/subscriptions/{id}",
        summary="Delete a subscription",
        handler=delete_subscription,
        answers={204: None},
        needs=Scope.WRITE,
    ),
)
