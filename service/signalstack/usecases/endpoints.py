"""Endpoints: where a tenant's webhooks go; checked when made, and their secret shown only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalstack.core.address import check_url
from signalstack.core.endpoint import check_headers
from signalstack.core.endpoint_config import CreatedEndpoint, Endpoint
from signalstack.core.errors import ConflictError, InvalidError, NotFoundError
from signalstack.core.ids import new_id
from signalstack.core.signature import new_secret
from signalstack.store import endpoints

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.core.endpoint import DeliveryEndpoint
    from signalstack.core.endpoint_config import EndpointRequest
    from signalstack.store.pool import Pool


async def create(
    pool: Pool, user_id: UUID, request: EndpointRequest, *, allow_private: bool
) -> CreatedEndpoint:
    """Check and store an endpoint, with a new secret.

    Args:
        pool: where to store it.
        user_id: whose it is.
        request: what is asked for.
        allow_private: let through targets that are not public (demo and tests).

    Raises:
        InvalidError: the URL or a header is wrong.
        ConflictError: the name is in use.
    """
    check_url(request.url, allow_private=allow_private)
    try:
        check_headers(request.headers)
    except ValueError as error:
        raise InvalidError.at("/headers", str(error)) from None
    secret = new_secret()
    async with pool.connection() as conn:
        stored = await endpoints.insert(
            conn, user_id=user_id, endpoint_id=new_id(), request=request, secret=secret
        )
    if stored is None:
        raise ConflictError(f"there is an endpoint named {request.name!r} already")
    told = {name: getattr(stored, name) for name in Endpoint.__struct_fields__}
    return CreatedEndpoint(**told, secret=secret)


async def list_page(
    pool: Pool, user_id: UUID, *, limit: int, after: UUID | None = None
) -> list[Endpoint]:
    """List the tenant's endpoints with ids above `after`, oldest first, without secrets."""
    async with pool.connection() as conn:
        return await endpoints.list_page(conn, user_id=user_id, after=after, limit=limit)


async def get(pool: Pool, user_id: UUID, endpoint_id: UUID) -> Endpoint:
    """Find one of the tenant's endpoints, without its secret, or raise NotFoundError."""
    async with pool.connection() as conn:
        found = await endpoints.get(conn, user_id=user_id, endpoint_id=endpoint_id)
    if found is None:
        raise _unknown(endpoint_id)
    return found


async def delete(pool: Pool, user_id: UUID, endpoint_id: UUID) -> None:
    """Delete one of the tenant's endpoints, or raise NotFoundError."""
    async with pool.connection() as conn:
        deleted = await endpoints.delete(conn, user_id=user_id, endpoint_id=endpoint_id)
    if not deleted:
        raise _unknown(endpoint_id)


async def get_for_delivery(pool: Pool, user_id: UUID, endpoint_id: UUID) -> DeliveryEndpoint | None:
    """Find one of the tenant's endpoints with its secrets, for the worker that delivers."""
    async with pool.connection() as conn:
        return await endpoints.get_for_delivery(conn, user_id=user_id, endpoint_id=endpoint_id)


async def disable(pool: Pool, user_id: UUID, endpoint_id: UUID, reason: str) -> bool:
    """Switch an endpoint off and keep why; tell whether it was on."""
    async with pool.connection() as conn:
        return await endpoints.disable(
            conn, user_id=user_id, endpoint_id=endpoint_id, reason=reason
        )


def _unknown(endpoint_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no endpoint {endpoint_id}")
