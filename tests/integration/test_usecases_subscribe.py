from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from boarding import ON_BOARD
from signalstack.core.errors import ConflictError, InvalidError, NotFoundError
from signalstack.core.ids import new_id
from signalstack.core.subscription import (
    JobTemplate,
    Subscription,
    SubscriptionChange,
    SubscriptionRequest,
)
from signalstack.store import queues
from signalstack.usecases import subscribe
from tenants import make_tenant, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from signalstack.store.pool import Pool

REGISTRY = {kind.name: kind for kind in ON_BOARD if kind.name in ("noop", "send_webhook")}


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@pytest.fixture
async def tenant(pool: Pool) -> UUID:
    return await make_tenant(pool)


async def _change(pool: Pool, tenant: UUID, id_: UUID, **fields: Any) -> None:
    wanted = SubscriptionChange(**fields)
    await subscribe.change(pool, tenant, id_, wanted, registry=REGISTRY)


async def _create(pool: Pool, tenant: UUID, **fields: Any) -> Subscription:
    usual: dict[str, Any] = {
        "name": "paid",
        "event_type": "order.*",
        "job": JobTemplate(type="noop"),
    }
    request = SubscriptionRequest(**usual | fields)
    return await subscribe.create(pool, tenant, request, registry=REGISTRY)


async def _version(pool: Pool, tenant: UUID) -> int:
    version, _ = await subscribe.load_for_matching(pool, tenant)
    return version


async def test_created_subscription_is_got_as_it_was_asked_for(pool: Pool, tenant: UUID) -> None:
    made = await _create(
        pool,
        tenant,
        filter={"total": [{"numeric": [">", 5]}]},
        job=JobTemplate(type="send_webhook", payload={"who": {"$": "payload.customer"}}, delay_s=2),
    )

    found = await subscribe.get(pool, tenant, made.id)

    told = msgspec.json.decode(msgspec.json.encode(found))
    assert msgspec.json.encode(found) == msgspec.json.encode(made)
    assert told["filter"] == {"total": [{"numeric": [">", 5]}]}
    assert told["job"]["payload"] == {"who": {"$": "payload.customer"}}
    assert told["job"]["delay_s"] == 2
    assert told["active"] is True
    assert told["created_at"].endswith("Z")


async def test_every_change_raises_the_version(pool: Pool, tenant: UUID) -> None:
    versions = [await _version(pool, tenant)]
    made = await _create(pool, tenant)
    versions.append(await _version(pool, tenant))
    await subscribe.delete(pool, tenant, made.id)
    versions.append(await _version(pool, tenant))

    assert versions == [0, 1, 2]


async def test_refused_change_leaves_the_version(pool: Pool, tenant: UUID) -> None:
    await _create(pool, tenant)
    with pytest.raises(ConflictError):
        await _create(pool, tenant)
    with pytest.raises(NotFoundError):
        await subscribe.delete(pool, tenant, new_id())

    assert await _version(pool, tenant) == 1


async def test_matching_reads_the_active_ones_decoded(pool: Pool, tenant: UUID) -> None:
    job = JobTemplate(type="noop", payload={"a": 1}, priority=5)
    first = await _create(pool, tenant, name="one", filter={"a": [1]}, job=job)
    second = await _create(pool, tenant, name="two")
    await _create(pool, tenant, name="three", active=False)

    version, found = await subscribe.load_for_matching(pool, tenant)

    assert version == 3
    assert [row.id for row in found] == [first.id, second.id]
    assert found[0].filter == {"a": [1]}
    assert found[0].job == job
    assert found[1].filter is None


async def test_matching_for_a_tenant_without_any_has_a_version(pool: Pool, tenant: UUID) -> None:
    assert await subscribe.load_for_matching(pool, tenant) == (0, [])


async def test_unknown_tenant_is_not_found(pool: Pool) -> None:
    with pytest.raises(NotFoundError):
        await subscribe.load_for_matching(pool, new_id())
    with pytest.raises(NotFoundError):
        await _create(pool, new_id())


async def test_name_may_be_used_by_another_tenant(pool: Pool, tenant: UUID) -> None:
    await _create(pool, tenant)
    await _create(pool, await make_tenant(pool, "zeta"))

    with pytest.raises(ConflictError, match="paid"):
        await _create(pool, tenant)


async def test_pages_follow_each_other(pool: Pool, tenant: UUID) -> None:
    made = [await _create(pool, tenant, name=f"n{number}") for number in range(5)]

    first = await subscribe.list_page(pool, tenant, limit=3)
    rest = await subscribe.list_page(pool, tenant, limit=3, after=first[-1].id)

    assert [row.id for row in first + rest] == [row.id for row in made]


async def test_another_tenants_subscription_is_not_found(pool: Pool, tenant: UUID) -> None:
    made = await _create(pool, tenant)
    stranger = await make_tenant(pool, "zeta")

    with pytest.raises(NotFoundError):
        await subscribe.get(pool, stranger, made.id)
    with pytest.raises(NotFoundError):
        await subscribe.delete(pool, stranger, made.id)
    assert await subscribe.list_page(pool, stranger, limit=10) == []
    assert await subscribe.load_for_matching(pool, stranger) == (0, [])
    await subscribe.get(pool, tenant, made.id)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"event_type": "a*b"}, "/event_type"),
        ({"filter": {"a": 1}}, "/filter/a"),
        ({"job": JobTemplate(type="nope")}, "/job/type"),
        ({"job": JobTemplate(type="noop", queue="nope")}, "/job/queue"),
        ({"job": JobTemplate(type="noop", payload={"a": {"$": "]["}})}, "/job/payload/a/$"),
        ({"job": JobTemplate(type="send_webhook", payload={"url": 5})}, "/job/payload/url"),
        ({"job": JobTemplate(type="send_webhook", payload={"$$": "id"})}, "/job/payload/$"),
        ({"job": JobTemplate(type="noop", payload=["fixed"])}, "/job/payload"),
    ],
)
async def test_fault_is_pointed_at(
    pool: Pool, tenant: UUID, fields: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(InvalidError) as raised:
        await _create(pool, tenant, **fields)

    assert [fault.pointer for fault in raised.value.faults] == [pointer]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {"url": "https://example.com/", "body": {"a": ["fixed"]}},
        {"url": 5, "body": {"a": [{"$": "id"}]}},
        {"$": "payload"},
    ],
)
async def test_payload_that_fits_or_depends_on_the_event_is_kept(
    pool: Pool, tenant: UUID, payload: object
) -> None:
    made = await _create(pool, tenant, job=JobTemplate(type="send_webhook", payload=payload))

    assert msgspec.json.decode(made.job)["payload"] == payload


async def test_refusal_of_an_unknown_type_or_queue_names_those_there_are(
    pool: Pool, tenant: UUID
) -> None:
    with pytest.raises(InvalidError, match="noop, send_webhook"):
        await _create(pool, tenant, job=JobTemplate(type="nope"))
    with pytest.raises(InvalidError, match="there are: default"):
        await _create(pool, tenant, job=JobTemplate(type="noop", queue="nope"))


async def test_declared_queue_is_known_to_every_tenant(pool: Pool, tenant: UUID) -> None:
    async with pool.connection() as conn:
        assert await queues.declare(conn, names=["slow", "default", "slow2"]) == 2
        assert await queues.declare(conn, names=["slow"]) == 0

    await _create(pool, tenant, job=JobTemplate(type="noop", queue="slow"))


async def test_tenants_own_queue_is_known_to_it_alone(pool: Pool, tenant: UUID) -> None:
    async with pool.connection() as conn:
        await conn.execute(
            "INSERT INTO signalstack.queues (user_id, name) VALUES (%s, 'mine')", (tenant,)
        )
        assert await queues.known(conn, user_id=tenant) == {"default", "messages", "mine"}
        assert await queues.known(conn, user_id=new_id()) == {"default", "messages"}


async def test_what_a_tenant_has_may_be_so_large_together(
    pool: Pool, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await _create(pool, tenant, name="one", filter={"a": ["x" * 300]})
    second = await _create(pool, tenant, name="two")
    monkeypatch.setattr(subscribe, "MAX_BYTES", 600)

    with pytest.raises(ConflictError, match="may have 600 bytes together"):
        await _create(pool, tenant, name="three", filter={"a": ["x" * 300]})
    with pytest.raises(ConflictError, match="with this one they would have"):
        await _change(pool, tenant, second.id, filter={"a": ["x" * 300]})
    monkeypatch.setattr(subscribe, "MAX_BYTES", 10)
    await _change(pool, tenant, first.id, active=False)  # what is there may stay
    await _change(pool, tenant, first.id, filter=None)

    kept = await subscribe.list_page(pool, tenant, limit=10)
    assert [bytes(each.filter) for each in kept] == [b"null", b"null"]


async def test_limit_holds_against_concurrent_creation(
    pool: Pool, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribe, "MAX_SUBSCRIPTIONS", 3)
    refused = 0

    async def create(name: str) -> None:
        nonlocal refused
        try:
            await _create(pool, tenant, name=name)
        except ConflictError:
            refused += 1

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(create, f"n{number}")

    assert refused == 5
    assert len(await subscribe.list_page(pool, tenant, limit=10)) == 3
