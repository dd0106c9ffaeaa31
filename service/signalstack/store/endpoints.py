"""Table endpoints: where webhooks go, and the secrets that sign them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
from psycopg.errors import UniqueViolation

from signalstack.core.endpoint import DeliveryEndpoint
from signalstack.core.endpoint_config import Endpoint, RotatedEndpoint
from signalstack.core.errors import ConflictError
from signalstack.store.query import Query, execute, fetch_all, fetch_one, fetch_value

if TYPE_CHECKING:
    from signalstack.core.endpoint_config import EndpointChange, EndpointRequest
    from signalstack.store.query import Connection


class _DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """DeliveryEndpoint as the database has it."""

    id: UUID
    url: str
    headers: msgspec.Raw
    active: bool
    disabled_reason: str | None
    failing: bool
    paced: bool
    secrets: list[str]


_INSERT: Final = Query("endpoints/insert", Endpoint)
_LIST: Final = Query("endpoints/list", Endpoint)
_GET: Final = Query("endpoints/get", Endpoint)
_GET_FOR_DELIVERY: Final = Query("endpoints/get_for_delivery", _DeliveryRow)
_UPDATE: Final = Query("endpoints/update", Endpoint)
_ROTATE: Final = Query("endpoints/rotate_secret", RotatedEndpoint)
_RECORD_FAILURE: Final = Query("endpoints/record_failure", bool)
_CLEAR_FAILURES: Final = Query("endpoints/clear_failures", int)
_TAKE: Final = Query("endpoints/take", float)
_HOLD: Final = Query("endpoints/hold", int)
_DISABLE: Final = Query("endpoints/disable", int)
_DELETE: Final = Query("endpoints/delete", int)


async def insert(
    conn: Connection, *, user_id: UUID, endpoint_id: UUID, request: EndpointRequest, secret: str
) -> Endpoint | None:
    """Store a new endpoint; None when the tenant has one of that name."""
    rate = request.rate
    return await fetch_one(
        conn,
        _INSERT,
        id=endpoint_id,
        user_id=user_id,
        name=request.name,
        url=request.url,
        headers=msgspec.json.encode(request.headers).decode(),
        rate=None if rate is None else msgspec.json.encode(rate).decode(),
        active=request.active,
        secret=secret,
    )


async def list_page(
    conn: Connection, *, user_id: UUID, after: UUID | None, limit: int
) -> list[Endpoint]:
    """List the tenant's endpoints with ids above `after`, oldest first."""
    return await fetch_all(conn, _LIST, user_id=user_id, after=after, limit=limit)


async def get(conn: Connection, *, user_id: UUID, endpoint_id: UUID) -> Endpoint | None:
    """Find one of the tenant's endpoints."""
    return await fetch_one(conn, _GET, user_id=user_id, id=endpoint_id)


async def get_for_delivery(
    conn: Connection, *, user_id: UUID, endpoint_id: UUID
) -> DeliveryEndpoint | None:
    """Find one of the tenant's endpoints with what signs and addresses a delivery."""
    row = await fetch_one(conn, _GET_FOR_DELIVERY, user_id=user_id, id=endpoint_id)
    if row is None:
        return None
    return DeliveryEndpoint(
        id=row.id,
        url=row.url,
        headers=msgspec.json.decode(row.headers, type=dict[str, str]),
        active=row.active,
        secrets=row.secrets,
        disabled_reason=row.disabled_reason,
        failing=row.failing,
        paced=row.paced,
    )


async def update(
    conn: Connection, *, user_id: UUID, endpoint_id: UUID, change: EndpointChange
) -> Endpoint | None:
    """Change what is named of one of the tenant's endpoints; None when there is none.

    Raises:
        ConflictError: another one of the tenant's has the name.
    """
    rate, headers = change.rate, change.headers
    try:
        return await fetch_one(
            conn,
            _UPDATE,
            id=endpoint_id,
            user_id=user_id,
            name=change.name or None,
            url=change.url or None,
            headers=msgspec.json.encode(headers).decode() if isinstance(headers, dict) else None,
            set_rate=rate is not msgspec.UNSET,
            rate=msgspec.json.encode(rate).decode() if rate else None,
            active=change.active if isinstance(change.active, bool) else None,
        )
    except UniqueViolation:
        raise ConflictError(f"there is an endpoint named {change.name!r} already") from None


async def rotate_secret(
    conn: Connection, *, user_id: UUID, endpoint_id: UUID, secret: str, overlap_s: float
) -> RotatedEndpoint | None:
    """Give an endpoint a new secret beside which the old one counts for a while; None: unknown."""
    return await fetch_one(
        conn, _ROTATE, user_id=user_id, id=endpoint_id, secret=secret, overlap_s=overlap_s
    )


async def take(
    conn: Connection,
    *,
    user_id: UUID,
    endpoint_id: UUID,
    again: bool,
    hold_pace_s: float,
    horizon_s: float,
) -> float:
    """Take a token for a delivery that begins now: 0, or after how many seconds to ask again.

    `again` says that it was put off before. Once a hold is over, deliveries to an endpoint without
    a rate begin `hold_pace_s` apart; nobody is told to wait for longer than `horizon_s`.
    """
    wait_s = await fetch_value(
        conn,
        _TAKE,
        user_id=user_id,
        id=endpoint_id,
        again=again,
        hold_pace_s=hold_pace_s,
        horizon_s=horizon_s,
    )
    return wait_s or 0.0


async def hold(
    conn: Connection, *, user_id: UUID, endpoint_id: UUID, url: str, hold_s: float
) -> None:
    """Have the endpoint's deliveries wait for so many seconds, unless they do so already."""
    await execute(conn, _HOLD, user_id=user_id, id=endpoint_id, url=url, hold_s=hold_s)


async def record_failure(
    conn: Connection,
    *,
    user_id: UUID,
    endpoint_id: UUID,
    url: str,
    reason: str,
    patience_s: float,
    failures: int,
) -> bool:
    """Count a failed delivery, at most one a minute; tell whether that switched the endpoint off.

    It does when failures have been all there was for `patience_s` seconds, and at least `failures`.
    """
    active = await fetch_value(
        conn,
        _RECORD_FAILURE,
        user_id=user_id,
        id=endpoint_id,
        url=url,
        reason=reason,
        patience_s=patience_s,
        failures=failures,
    )
    return active is False


async def clear_failures(conn: Connection, *, user_id: UUID, endpoint_id: UUID) -> None:
    """Forget an endpoint's failures, for a delivery got through."""
    await execute(conn, _CLEAR_FAILURES, user_id=user_id, id=endpoint_id)


async def disable(
    conn: Connection, *, user_id: UUID, endpoint_id: UUID, url: str, reason: str
) -> bool:
    """Switch an endpoint off and keep why; tell whether it was on."""
    return (
        await execute(conn, _DISABLE, user_id=user_id, id=endpoint_id, url=url, reason=reason) > 0
    )


async def delete(conn: Connection, *, user_id: UUID, endpoint_id: UUID) -> bool:
    """Delete one of the tenant's endpoints; tell whether there was one."""
    return await execute(conn, _DELETE, user_id=user_id, id=endpoint_id) > 0
