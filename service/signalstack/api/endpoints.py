"""Endpoints over HTTP: where webhooks go."""

from __future__ import annotations

from typing import Final

import msgspec

from signalstack.api import body, codec, paging
from signalstack.api.operation import JSON, Answer, Bare, Call, Operation
from signalstack.api.paging import PageQuery
from signalstack.core.endpoint_config import (
    CreatedEndpoint,
    Endpoint,
    EndpointChange,
    EndpointRequest,
    RotatedEndpoint,
    Rotation,
)
from signalstack.core.key import Scope
from signalstack.usecases import endpoints


class EndpointPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of endpoints, oldest first."""

    data: list[Endpoint]
    next_cursor: str | None


async def create_endpoint(call: Call[EndpointRequest, None]) -> Answer:
    """Check and keep an endpoint; the answer is the only one that has its secret."""
    parts = call.parts
    made = await endpoints.create(
        parts.pool, call.user_id, call.body, allow_private=parts.allow_private
    )
    location = (b"location", f"/v1/endpoints/{made.id}".encode("ascii"))
    return Answer(status=201, body=made, headers=[location])


async def list_endpoints(call: Call[None, PageQuery]) -> Answer:
    """List a page of the tenant's endpoints."""
    found = await endpoints.list_page(
        call.parts.pool,
        call.user_id,
        limit=call.query.limit + 1,
        after=paging.position(call, "endpoints"),
    )
    data, next_cursor = paging.split(call, "endpoints", found)
    return Answer(body=EndpointPage(data=data, next_cursor=next_cursor))


async def get_endpoint(call: Bare) -> Answer:
    """Look one endpoint up."""
    return Answer(body=await endpoints.get(call.parts.pool, call.user_id, call.id))


async def change_endpoint(call: Call[EndpointChange, None]) -> Answer:
    """Change what is named of an endpoint; switching it on forgets its failures."""
    parts = call.parts
    changed = await endpoints.change(
        parts.pool, call.user_id, call.id, call.body, allow_private=parts.allow_private
    )
    return Answer(body=changed)


async def rotate_secret(call: Call[bytes, None]) -> Answer:
    """Give an endpoint a new secret; the answer is the only one that has it."""
    rotation = Rotation()
    if call.body:
        body.check_media(call.exchange.headers, (JSON,))
        rotation = codec.decode(call.body, Rotation)
    rotated = await endpoints.rotate_secret(
        call.parts.pool, call.user_id, call.id, overlap_s=rotation.overlap_s
    )
    return Answer(body=rotated)


async def delete_endpoint(call: Bare) -> Answer:
    """Delete an endpoint; deliveries to it that are still waiting will fail."""
    await endpoints.delete(call.parts.pool, call.user_id, call.id)
    return Answer(status=204)


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/endpoints",
        summary="Create an endpoint",
        handler=create_endpoint,
        body=EndpointRequest,
        answers={201: CreatedEndpoint},
        tells={201: ("Location",)},
        conflicts="The name is in use.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="GET",
        path="/endpoints",
        summary="List endpoints",
        handler=list_endpoints,
        query=PageQuery,
        answers={200: EndpointPage},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/endpoints/{id}",
        summary="Get an endpoint",
        handler=get_endpoint,
        answers={200: Endpoint},
        needs=Scope.READ,
    ),
    Operation(
        method="PATCH",
        path="/endpoints/{id}",
        summary="Change an endpoint",
        handler=change_endpoint,
        body=EndpointChange,
        answers={200: Endpoint},
        conflicts="The name is in use.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/endpoints/{id}/rotate-secret",
        summary="Give an endpoint a new secret; the old one signs as well for a while",
        handler=rotate_secret,
        body=bytes,
        # It may be missing, and then has no media type: `rotate_secret` judges.
        media=(),
        decode=bytes,
        shapes={JSON: Rotation},
        optional_body=True,
        answers={200: RotatedEndpoint},
        needs=Scope.WRITE,
    ),
    Operation(
        method="DELETE",
        path="/endpoints/{id}",
        summary="Delete an endpoint",
        handler=delete_endpoint,
        answers={204: None},
        needs=Scope.WRITE,
    ),
)
