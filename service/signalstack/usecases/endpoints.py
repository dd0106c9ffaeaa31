"""Endpoints: where a tenant's webhooks go; checked when made, and their secret shown only then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core.address import check_url
from signalstack.core.endpoint import check_headers
from signalstack.core.endpoint_config import CreatedEndpoint, Endpoint
from signalstack.core.errors import ConflictError, InvalidError, NotFoundError
from signalstack.core.ids import new_id
from signalstack.core.signature import new_secret
from signalstack.store import endpoints

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from signalstack.core.endpoint import DeliveryEndpoint
    from signalstack.core.endpoint_config import EndpointChange, EndpointRequest, RotatedEndpoint
    from signalstack.store.pool import Pool

# A weekend and a day: what fails for longer is not coming back by itself.
PATIENCE_S: Final = 3 * 86_400.0
FAILURES: Final = 10
# After a hold, the deliveries that waited go 20 a second: all at once would bring the next one.
HOLD_PACE_S: Final = 0.05
HORIZON_S: Final = 3_600.0


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
    _check_headers(request.headers)
    secret = new_secret()
    async with pool.connection(user_id) as conn:
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
    async with pool.connection(user_id) as conn:
        return await endpoints.list_page(conn, user_id=user_id, after=after, limit=limit)


async def get(pool: Pool, user_id: UUID, endpoint_id: UUID) -> Endpoint:
    """Find one of the tenant's endpoints, without its secret, or raise NotFoundError."""
    async with pool.connection(user_id) as conn:
        found = await endpoints.get(conn, user_id=user_id, endpoint_id=endpoint_id)
    if found is None:
        raise _unknown(endpoint_id)
    return found


async def change(
    pool: Pool, user_id: UUID, endpoint_id: UUID, change: EndpointChange, *, allow_private: bool
) -> Endpoint:
    """Change what is named of an endpoint; deliveries that begin from then on go by it.

    Raises:
        InvalidError: the URL or a header is wrong.
        NotFoundError: there is no such endpoint.
        ConflictError: the name is in use.
    """
    if change.url:
        check_url(change.url, allow_private=allow_private)
    if change.headers:
        _check_headers(change.headers)
    async with pool.connection(user_id) as conn:
        stored = await endpoints.update(
            conn, user_id=user_id, endpoint_id=endpoint_id, change=change
        )
    if stored is None:
        raise _unknown(endpoint_id)
    return stored


async def rotate_secret(
    pool: Pool, user_id: UUID, endpoint_id: UUID, *, overlap_s: float
) -> RotatedEndpoint:
    """Give an endpoint a new secret; for `overlap_s` seconds deliveries are signed with both.

    Raises:
        NotFoundError: there is no such endpoint.
    """
    async with pool.connection(user_id) as conn:
        rotated = await endpoints.rotate_secret(
            conn,
            user_id=user_id,
            endpoint_id=endpoint_id,
            secret=new_secret(),
            overlap_s=overlap_s,
        )
    if rotated is None:
        raise _unknown(endpoint_id)
    return rotated


async def delete(pool: Pool, user_id: UUID, endpoint_id: UUID) -> None:
    """Delete one of the tenant's endpoints, or raise NotFoundError."""
    async with pool.connection(user_id) as conn:
        deleted = await endpoints.delete(conn, user_id=user_id, endpoint_id=endpoint_id)
    if not deleted:
        raise _unknown(endpoint_id)


async def get_for_delivery(pool: Pool, user_id: UUID, endpoint_id: UUID) -> DeliveryEndpoint | None:
    """Find one of the tenant's endpoints with its secrets, for the worker that delivers."""
    async with pool.connection(user_id) as conn:
        return await endpoints.get_for_delivery(conn, user_id=user_id, endpoint_id=endpoint_id)


async def take(pool: Pool, user_id: UUID, endpoint_id: UUID, *, again: bool) -> float:
    """Take a token for a delivery that begins now: 0, or after how many seconds to ask again."""
    async with pool.connection(user_id) as conn:
        return await endpoints.take(
            conn,
            user_id=user_id,
            endpoint_id=endpoint_id,
            again=again,
            hold_pace_s=HOLD_PACE_S,
            horizon_s=HORIZON_S,
        )


async def hold(pool: Pool, user_id: UUID, endpoint_id: UUID, url: str, hold_s: float) -> None:
    """Hold deliveries back for so many seconds, as the receiver at `url` asked."""
    async with pool.connection(user_id) as conn:
        await endpoints.hold(conn, user_id=user_id, endpoint_id=endpoint_id, url=url, hold_s=hold_s)


async def disable(pool: Pool, user_id: UUID, endpoint_id: UUID, url: str, reason: str) -> bool:
    """Switch an endpoint off if it still has that url, and keep why; tell whether it was on."""
    async with pool.connection(user_id) as conn:
        return await endpoints.disable(
            conn, user_id=user_id, endpoint_id=endpoint_id, url=url, reason=reason
        )


async def record_failure(
    pool: Pool, user_id: UUID, endpoint_id: UUID, url: str, reason: str
) -> bool:
    """Count a failed delivery to `url`; tell whether it switched the endpoint off."""
    async with pool.connection(user_id) as conn:
        return await endpoints.record_failure(
            conn,
            user_id=user_id,
            endpoint_id=endpoint_id,
            url=url,
            reason=reason,
            patience_s=PATIENCE_S,
            failures=FAILURES,
        )


async def clear_failures(pool: Pool, user_id: UUID, endpoint_id: UUID) -> None:
    """Forget an endpoint's failures, for a delivery got through."""
    async with pool.connection(user_id) as conn:
        await endpoints.clear_failures(conn, user_id=user_id, endpoint_id=endpoint_id)


def _check_headers(headers: Mapping[str, str]) -> None:
    try:
        check_headers(headers)
    except ValueError as error:
        raise InvalidError.at("/headers", str(error)) from None


def _unknown(endpoint_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no endpoint {endpoint_id}")
