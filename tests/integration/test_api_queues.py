"""Queues over HTTP against a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from front import Front, client_of, make_key, open_front
from rows import add_jobs, add_user, connect, rows, value
from signalstack.core.errors import InvalidError
from signalstack.core.key import Scope
from signalstack.core.queue import MAX_QUEUES
from signalstack.store import queues
from signalstack.store.query import read
from signalstack.usecases.queues import KnownQueues

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rows import Database


@pytest.fixture
async def front(database_url: str) -> AsyncIterator[Front]:
    async with open_front(database_url) as front:
        yield front


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with connect(database_url) as conn:
        yield conn


async def tenant(db: Database, name: str = "acme") -> UUID:
    return UUID(str(await value(db, "SELECT id FROM signalstack.users WHERE name = %s", name)))


async def test_an_idle_queue_has_nothing_to_tell(front: Front) -> None:
    answer = await front.client.get("/v1/queues")

    idle = {
        "depth": 0,
        "depth_exact": True,
        "oldest_age_s": None,
        "running": 0,
        "paused": False,
        "concurrency": None,
        "rate": None,
    }
    pace = {"limit": 2, "per_s": 120.0, "burst": 2}
    assert answer.status_code == 200
    assert answer.json() == {
        "data": [
            {"name": "default", **idle},
            {"name": "messages", **idle, "concurrency": 5, "rate": pace},
        ]
    }


async def test_depth_counts_what_is_due_and_waits(front: Front, db: Database) -> None:
    for body in ({}, {"priority": 5}, {"delay_s": 3600}):
        await front.client.post("/v1/jobs", json={"type": "noop", **body})
    await front.stranger.post("/v1/jobs", json={"type": "noop"})
    oldest = await add_jobs(db, await tenant(db), priority=-7)
    await db.execute(
        "UPDATE signalstack.jobs SET run_at = run_at - interval '1 hour' WHERE id = %s", oldest
    )
    leased = await add_jobs(db, await tenant(db))
    await db.execute(
        "UPDATE signalstack.jobs SET lease_token = 1, run_at = run_at - interval '2 hours'"
        " WHERE id = %s",
        leased,
    )

    queue = (await front.client.get("/v1/queues/default")).json()

    assert (queue["depth"], queue["running"], queue["depth_exact"]) == (3, 1, True)
    assert 3600 <= queue["oldest_age_s"] < 3700


async def test_a_long_queue_is_counted_up_to_a_limit(front: Front, db: Database) -> None:
    user_id = await tenant(db)
    await add_jobs(db, user_id, 10)
    (oldest,) = await add_jobs(db, user_id, priority=-1)
    await db.execute(
        "UPDATE signalstack.jobs SET run_at = run_at - interval '1 hour' WHERE id = %s", (oldest,)
    )

    async with front.pool.connection() as conn:
        (queue,) = await queues.look(conn, user_id=user_id, name="default", budget=5)
        (exact,) = await queues.look(conn, user_id=user_id, name="default", budget=11)

    assert (queue.depth, queue.depth_exact) == (6, False)
    assert (exact.depth, exact.depth_exact) == (11, True)
    assert queue.oldest_age_s is not None
    assert queue.oldest_age_s >= 3600


async def test_a_tenant_makes_a_queue_by_limiting_it(front: Front) -> None:
    before = await front.client.post("/v1/jobs", json={"type": "noop", "queue": "reports"})
    made = await front.client.patch("/v1/queues/reports", json={"concurrency": 3})
    after = await front.client.post("/v1/jobs", json={"type": "noop", "queue": "reports"})
    foreign = await front.stranger.post("/v1/jobs", json={"type": "noop", "queue": "reports"})

    assert (before.status_code, made.status_code) == (422, 200)
    assert (made.json()["name"], made.json()["concurrency"]) == ("reports", 3)
    assert (after.status_code, foreign.status_code) == (201, 422)
    names = [queue["name"] for queue in (await front.client.get("/v1/queues")).json()["data"]]
    assert names == ["default", "messages", "reports"]
    assert (await front.stranger.get("/v1/queues/reports")).status_code == 404


async def test_other_processes_learn_of_a_new_queue(front: Front, db: Database) -> None:
    user_id = await tenant(db)
    elsewhere = KnownQueues(front.pool)
    await front.client.patch("/v1/queues/reports", json={})

    await elsewhere.check(user_id, "reports", "/queue")
    with pytest.raises(InvalidError):
        await elsewhere.check(user_id, "other", "/queue")


async def test_limits_change_one_by_one(front: Front) -> None:
    rate = {"limit": 20, "per_s": 2.0, "burst": 5}
    changes: list[dict[str, Any]] = [
        {"concurrency": 3, "rate": rate},
        {"concurrency": 4},
        {"rate": {"limit": 7}},
        {"concurrency": None},
        {},
        {"rate": None},
    ]
    seen: list[tuple[Any, Any]] = []
    for change in changes:
        queue = (await front.client.patch("/v1/queues/default", json=change)).json()
        assert queue == (await front.client.get("/v1/queues/default")).json()
        seen.append((queue["concurrency"], queue["rate"]))

    seven = {"limit": 7, "per_s": 1.0, "burst": 7}
    assert seen == [(3, rate), (4, rate), (4, seven), (None, seven), (None, seven), (None, None)]


async def test_a_limit_is_the_tenants_alone(front: Front) -> None:
    await front.client.patch("/v1/queues/default", json={"concurrency": 1})
    await front.client.post("/v1/queues/default/pause")

    queue = (await front.stranger.get("/v1/queues/default")).json()

    assert (queue["concurrency"], queue["paused"]) == (None, False)


async def test_pausing_and_resuming_again_changes_nothing(front: Front) -> None:
    answers = [
        await front.client.post(f"/v1/queues/default/{verb}")
        for verb in ("pause", "pause", "resume", "resume")
    ]

    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["paused"] for answer in answers] == [True, True, False, False]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"concurrency": 0}, "/concurrency"),
        ({"concurrency": 1.5}, "/concurrency"),
        ({"concurrency": "3"}, "/concurrency"),
        ({"concurrency": 100_001}, "/concurrency"),
        ({"rate": 20}, "/rate"),
        ({"rate": {}}, "/rate/limit"),
        ({"rate": {"limit": 0}}, "/rate/limit"),
        ({"rate": {"limit": 1, "per_s": 0}}, "/rate/per_s"),
        ({"rate": {"limit": 1, "burst": 0}}, "/rate/burst"),
        ({"paused": True}, "/paused"),
    ],
)
async def test_what_is_wrong_is_pointed_at(
    front: Front, body: dict[str, Any], pointer: str
) -> None:
    answer = await front.client.patch("/v1/queues/default", json=body)

    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("name", ["Reports", "-a", "a%20b", "%C3%A9", "a" * 101])
async def test_a_new_queue_has_a_plain_name(front: Front, name: str) -> None:
    made = await front.client.patch(f"/v1/queues/{name}", json={})
    found = await front.client.get(f"/v1/queues/{name}")
    paused = await front.client.post(f"/v1/queues/{name}/pause")

    assert (made.status_code, found.status_code, paused.status_code) == (422, 404, 404)


async def test_an_operators_limits_are_shown_until_a_tenant_has_its_own(front: Front) -> None:
    seen: list[tuple[Any, Any]] = []
    for change in ({}, {"concurrency": 2}, {"rate": {"limit": 1}}, {"concurrency": None}):
        queue = (await front.client.patch("/v1/queues/messages", json=change)).json()
        seen.append((queue["concurrency"], queue["rate"] and queue["rate"]["limit"]))

    assert seen == [(5, 2), (2, 2), (2, 1), (5, 1)]


async def test_an_operators_queue_may_be_named_otherwise(front: Front) -> None:
    async with front.pool.connection() as conn:
        await queues.declare(conn, names=["Großer Auftrag"])

    limited = await front.client.patch("/v1/queues/Großer Auftrag", json={"concurrency": 2})

    assert (limited.status_code, limited.json()["name"]) == (200, "Großer Auftrag")


async def test_a_tenant_has_only_so_many_queues(front: Front, db: Database) -> None:
    await db.execute(
        "INSERT INTO signalstack.queues (user_id, name)"
        " SELECT %s, 'q' || n FROM generate_series(1, %s) AS n",
        (await tenant(db), MAX_QUEUES),
    )

    new = await front.client.patch("/v1/queues/one-more", json={})
    own = await front.client.patch("/v1/queues/q7", json={"concurrency": 1})

    assert (new.status_code, own.status_code) == (409, 200)
    assert await rows(db, "SELECT FROM signalstack.queues WHERE name = 'one-more'") == []


async def test_a_key_does_what_its_scopes_allow(front: Front) -> None:
    reader = await make_key(front.pool, "acme", Scope.READ)
    writer = await make_key(front.pool, "acme", Scope.WRITE)
    asked: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", "/v1/queues", None),
        ("GET", "/v1/queues/default", None),
        ("PATCH", "/v1/queues/default", {}),
        ("POST", "/v1/queues/default/pause", None),
        ("POST", "/v1/queues/default/resume", None),
    ]

    async with client_of(front.app, reader) as read, client_of(front.app, writer) as write:
        statuses = [
            [
                (await client.request(method, path, json=body)).status_code
                for client in (read, write)
            ]
            for method, path, body in asked
        ]

    assert statuses == [[200, 403], [200, 403], [403, 200], [403, 200], [403, 200]]


async def test_looking_reads_neither_history_nor_the_jobs_of_others(db: Database) -> None:
    user_id = await add_user(db)
    await add_jobs(db, await add_user(db, "other"), 20_000)
    await add_jobs(db, user_id, 10)
    await db.execute("ANALYZE signalstack.jobs")

    plan = await value(
        db,
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
        + read("queues/look")
        .replace("%(user_id)s", f"'{user_id}'")
        .replace("%(name)s", "NULL")
        .replace("%(budget)s", "100000"),
    )

    nodes = list(_nodes(plan[0]["Plan"]))
    assert {node["Relation Name"] for node in nodes if "Relation Name" in node} == {
        "queues",
        "jobs",
    }
    on_jobs = [node for node in nodes if node.get("Relation Name") == "jobs"]
    assert {node["Node Type"] for node in on_jobs} <= {"Index Scan", "Index Only Scan"}
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 100


def _nodes(plan: Any) -> list[Any]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]
