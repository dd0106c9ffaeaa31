"""The audit log: who did what to keys and configuration, in the same transaction, kept for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from boarding import ON_BOARD
from front import open_front
from rows import connect, rows
from signalstack.core.actor import acting
from signalstack.core.key import Scope
from signalstack.core.message import Pace
from signalstack.store import audit, query
from signalstack.usecases import endpoints, messages, queues, review
from signalstack.usecases.keys import create_key, revoke_key
from tenants import make_tenant, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from front import Front
    from signalstack.store.pool import Pool

JOB = {"type": "noop"}


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url, job_types=ON_BOARD) as opened:
        yield opened


async def _ask(front: Front, method: str, path: str, body: Any = None) -> dict[str, Any]:
    sent = {} if body is None else {"json": body}
    answer = await front.client.request(method, f"/v1{path}", **sent)
    assert answer.status_code in {200, 201, 204}, answer.text
    return answer.json() if answer.content else {}


async def test_what_a_key_does_to_the_configuration_is_noted(front: Front) -> None:
    hook = {"name": "h", "url": "https://a.example.com/?token=hush", "headers": {"x-a": "hush"}}
    made = await _ask(front, "POST", "/endpoints", hook)
    endpoint = f"/endpoints/{made['id']}"
    rotated = await _ask(front, "POST", f"{endpoint}/rotate-secret")
    await _ask(front, "PATCH", endpoint, {"active": False})
    await _ask(front, "PATCH", endpoint, {"active": False})  # changes nothing
    await _ask(front, "PATCH", endpoint, {"headers": {"x-a": "hush hush"}})
    await _ask(front, "DELETE", endpoint)
    kinds = {"subscriptions": {"event_type": "a"}, "schedules": {"cron": "0 5 * * *"}}
    for resource, rest in kinds.items():
        made = await _ask(front, "POST", f"/{resource}", {"name": "n", "job": JOB, **rest})
        await _ask(front, "PATCH", f"/{resource}/{made['id']}", {"name": "m"})
        if resource == "schedules":
            await _ask(front, "POST", f"/schedules/{made['id']}/pause")
        await _ask(front, "DELETE", f"/{resource}/{made['id']}")
    await _ask(front, "PATCH", "/queues/mine", {"concurrency": 2})
    await _ask(front, "POST", "/queues/mine/pause")
    await _ask(front, "POST", "/scheduler/stop")

    acts = await review.list_acts(front.pool, "acme")
    told = [(act.act, act.columns) for act in reversed(acts)]
    assert told == [
        ("key created", []),
        ("endpoint created", []),
        (
            "endpoint secret rotated",
            ["previous_secret", "previous_secret_until", "secret"],
        ),
        ("endpoint disabled", ["active"]),
        ("endpoint changed", ["headers"]),
        ("endpoint deleted", []),
        ("subscription created", []),
        ("subscription changed", ["name"]),
        ("subscription deleted", []),
        ("schedule created", []),
        ("schedule changed", ["name"]),
        ("schedule paused", ["next_tick", "paused"]),
        ("schedule deleted", []),
        ("queue created", []),
        ("queue changed", ["concurrency"]),
        ("queue paused", ["paused"]),
        ("queue created", []),
        ("queue paused", ["paused"]),
    ]
    key_id = acts[-1].object
    assert {act.actor for act in acts[:-1]} == {f"key {key_id}"}
    everything = str(acts)
    for secret in ("hush", rotated["secret"]):
        assert secret not in everything


async def test_keys_are_put_down_to_who_sits_at_the_command_line(pool: Pool) -> None:
    with acting("cli ada"):
        token, info = await create_key(pool, "acme", {Scope.READ})
        await revoke_key(pool, info.id)
        await revoke_key(pool, info.id)  # changes nothing

    acts = await review.list_acts(pool)
    assert [(act.actor, act.act, act.object) for act in acts if act.user_name == "acme"] == [
        ("cli ada", "key revoked", info.id),
        ("cli ada", "key created", info.id),
    ]
    assert token.split("_")[3] not in str(acts)


async def test_an_act_that_is_undone_is_not_noted(pool: Pool) -> None:
    tenant = await make_tenant(pool)

    async def fail() -> None:
        async with pool.transaction(tenant) as conn:
            await query.run(
                conn,
                "test",
                "INSERT INTO signalstack.queues (user_id, name) VALUES (signalstack.tenant(), 'q')",
            )
            raise LookupError

    with pytest.raises(LookupError):
        await fail()

    assert await review.list_acts(pool, "acme") == []


async def test_what_the_service_keeps_of_its_own_is_no_act(pool: Pool, database_url: str) -> None:
    async with connect(database_url) as conn:
        await conn.execute("UPDATE signalstack.queues SET running = running + 1, tokens = 0")
        before = await review.list_acts(pool)
        await conn.execute("UPDATE signalstack.queues SET paused = true WHERE name = 'default'")
        (act, *rest) = await review.list_acts(pool)

    assert rest == before
    assert (act.user_name, act.act, act.object) == (None, "queue paused", "default")
    assert act.actor.startswith("database ")


async def test_a_worker_that_switches_an_endpoint_off_is_named(
    front: Front, database_url: str
) -> None:
    made = await _ask(front, "POST", "/endpoints", {"name": "h", "url": "https://a.example.com/"})
    async with connect(database_url) as conn:
        ((tenant,),) = await rows(conn, "SELECT user_id FROM signalstack.endpoints")

    await endpoints.disable(front.pool, tenant, UUID(made["id"]), made["url"], "410 Gone")

    (act, *_) = await review.list_acts(front.pool)
    assert (act.actor, act.act) == ("service", "endpoint disabled")


async def test_what_a_process_says_at_its_start_is_the_services(pool: Pool) -> None:
    pace = Pace(batch_size=7, interval_s=1.0, workers=3)

    await messages.set_pace(pool, pace)
    await messages.set_pace(pool, pace)  # changes nothing
    await queues.declare(pool, ["mail"])

    acts = await review.list_acts(pool)
    assert [(act.actor, act.act, act.object) for act in acts if act.actor == "service"] == [
        ("service", "queue created", "mail"),
        ("service", "queue changed", "messages"),
    ]
    assert not [act for act in acts if act.object == "mail" and act.actor != "service"]


async def test_the_log_only_grows_and_forgets_with_age(pool: Pool, database_url: str) -> None:
    await create_key(pool, "acme", {Scope.READ})
    async with connect(database_url) as conn:
        for statement in (
            "UPDATE signalstack.audit_log SET actor = 'nobody'",
            "DELETE FROM signalstack.audit_log",
            "TRUNCATE signalstack.audit_log",
        ):
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="append-only"):
                await conn.execute(statement.encode())
        await conn.execute(
            "INSERT INTO signalstack.audit_log (id, at, user_id, actor, act, object) SELECT"
            " signalstack.uuid_floor(t), t, gen_random_uuid(), 'a', 'key created', 'old'"
            " FROM (SELECT now() - interval '401 days') AS old (t)"
        )
    async with pool.connection() as conn:
        forgotten = await audit.forget(conn, keep_s=400 * 86_400.0, limit=10)

    assert forgotten == 1
    assert "old" not in {act.object for act in await review.list_acts(pool)}


async def test_a_tenant_neither_reads_nor_forges_it(pool: Pool) -> None:
    tenant = await make_tenant(pool)
    async with pool.connection(tenant) as conn:
        for statement in (
            "SELECT actor FROM signalstack.audit_log",
            (
                "INSERT INTO signalstack.audit_log (user_id, actor, act, object)"
                " VALUES (signalstack.tenant(), 'a', 'b', 'c')"
            ),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await query.run(conn, "test", statement)
