from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from signalstack.core.endpoint_config import CreatedEndpoint, EndpointRequest, Rate
from signalstack.core.errors import ConflictError, InvalidError, NotFoundError
from signalstack.core.signature import check_secret, new_secret
from signalstack.usecases import endpoints
from tenants import make_tenant, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from signalstack.store.pool import Pool


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@pytest.fixture
async def tenant(pool: Pool) -> UUID:
    return await make_tenant(pool)


async def _create(
    pool: Pool, tenant: UUID, *, allow_private: bool = False, **fields: Any
) -> CreatedEndpoint:
    wanted: dict[str, Any] = {"name": "shop", "url": "https://example.com/hook"} | fields
    request = EndpointRequest(**wanted)
    return await endpoints.create(pool, tenant, request, allow_private=allow_private)


async def test_secret_is_shown_at_creation_only(pool: Pool, tenant: UUID) -> None:
    made = await _create(
        pool, tenant, headers={"X-Shop": "1"}, rate=Rate(limit=5, per_s=1.0, burst=None)
    )

    check_secret(made.secret)
    told = msgspec.json.decode(msgspec.json.encode(await endpoints.get(pool, tenant, made.id)))
    listed = msgspec.json.encode(await endpoints.list_page(pool, tenant, limit=10))
    assert told["headers"] == {"X-Shop": "1"}
    assert told["rate"] == {"limit": 5, "per_s": 1.0, "burst": 5}
    assert "secret" not in told
    assert made.secret.encode() not in listed
    assert b"secret" not in listed


async def test_delivery_has_the_secret(pool: Pool, tenant: UUID) -> None:
    made = await _create(pool, tenant, headers={"X-Shop": "1"})

    found = await endpoints.get_for_delivery(pool, tenant, made.id)

    assert found is not None
    assert found.secrets == [made.secret]
    assert found.headers == {"X-Shop": "1"}
    assert found.url == "https://example.com/hook"
    assert found.active


@pytest.mark.parametrize(("seconds", "count"), [(60, 2), (-1, 1)])
async def test_previous_secret_counts_until_its_time(
    pool: Pool, tenant: UUID, seconds: int, count: int
) -> None:
    made = await _create(pool, tenant)
    previous = new_secret()
    async with pool.connection() as conn:
        await conn.execute(
            "UPDATE signalstack.endpoints SET previous_secret = %s,"
            " previous_secret_until = now() + make_interval(secs => %s)",
            (previous, seconds),
        )

    found = await endpoints.get_for_delivery(pool, tenant, made.id)

    assert found is not None
    assert found.secrets == [made.secret, previous][:count]


async def test_disabled_endpoint_keeps_the_first_reason(pool: Pool, tenant: UUID) -> None:
    made = await _create(pool, tenant)

    assert await endpoints.disable(pool, tenant, made.id, made.url, "410 Gone")
    assert not await endpoints.disable(pool, tenant, made.id, made.url, "another")

    found = await endpoints.get(pool, tenant, made.id)
    assert (found.active, found.disabled_reason) == (False, "410 Gone")


async def test_used_name_is_a_conflict_within_a_tenant(pool: Pool, tenant: UUID) -> None:
    await _create(pool, tenant)
    await _create(pool, await make_tenant(pool, "zeta"))

    with pytest.raises(ConflictError, match="shop"):
        await _create(pool, tenant)


async def test_private_target_is_refused_unless_allowed(pool: Pool, tenant: UUID) -> None:
    with pytest.raises(InvalidError, match="/url"):
        await _create(pool, tenant, url="http://127.0.0.1:9/")

    await _create(pool, tenant, url="http://127.0.0.1:9/", allow_private=True)


async def test_header_that_is_ours_is_refused(pool: Pool, tenant: UUID) -> None:
    with pytest.raises(InvalidError, match="/headers"):
        await _create(pool, tenant, headers={"webhook-signature": "v1,x"})


async def test_deleted_endpoint_is_gone(pool: Pool, tenant: UUID) -> None:
    made = await _create(pool, tenant)

    await endpoints.delete(pool, tenant, made.id)

    with pytest.raises(NotFoundError):
        await endpoints.get(pool, tenant, made.id)
    assert await endpoints.get_for_delivery(pool, tenant, made.id) is None


async def test_another_tenants_endpoint_is_not_found(pool: Pool, tenant: UUID) -> None:
    made = await _create(pool, tenant)
    stranger = await make_tenant(pool, "zeta")

    with pytest.raises(NotFoundError):
        await endpoints.get(pool, stranger, made.id)
    with pytest.raises(NotFoundError):
        await endpoints.delete(pool, stranger, made.id)
    assert await endpoints.get_for_delivery(pool, stranger, made.id) is None
    assert not await endpoints.disable(pool, stranger, made.id, made.url, "mine now")
    assert await endpoints.list_page(pool, stranger, limit=10) == []
    assert (await endpoints.get(pool, tenant, made.id)).active


async def test_pages_follow_each_other(pool: Pool, tenant: UUID) -> None:
    made = [await _create(pool, tenant, name=f"n{number}") for number in range(5)]

    first = await endpoints.list_page(pool, tenant, limit=3)
    rest = await endpoints.list_page(pool, tenant, limit=3, after=first[-1].id)

    assert [row.id for row in first + rest] == [row.id for row in made]
