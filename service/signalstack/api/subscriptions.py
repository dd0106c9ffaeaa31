"""Subscriptions over HTTP: which events become which jobs."""

from __future__ import annotations

from typing import Final

import msgspec

from signalstack.api import paging
from signalstack.api.operation import Answer, Bare, Call, Operation
from signalstack.api.paging import PageQuery
from signalstack.core.key import Scope
from signalstack.core.subscription import Subscription, SubscriptionRequest
from signalstack.usecases import subscribe


class SubscriptionPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of subscriptions, oldest first."""

    data: list[Subscription]
    next_cursor: str | None


async def create_subscription(call: Call[SubscriptionRequest, None]) -> Answer:
    """Check and keep a subscription."""
    parts = call.parts
    made = await subscribe.create(
        parts.pool, call.user_id, call.body, job_types=parts.registry.keys()
    )
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
        method="DELETE",
        path="/subscriptions/{id}",
        summary="Delete a subscription",
        handler=delete_subscription,
        answers={204: None},
        needs=Scope.WRITE,
    ),
)
