"""Jobs over HTTP against a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from front import Front, client_of, make_key, open_front
from signalstack.core.key import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url) as front:
        yield front


async def test_a_created_job_is_what_is_looked_up_later(front: Front) -> None:
    asked = {"type": "greet", "payload": {"to": "you"}, "priority": 5, "timeout_s": 1.5}

    made = await front.client.post("/v1/jobs", json=asked)

    assert made.status_code == 201
    job = made.json()
    assert UUID(job["id"]).version == 7
    assert made.headers["location"] == f"/v1/jobs/{job['id']}"
    assert {name: job[name] for name in asked} == asked
    assert (job["queue"], job["status"], job["attempt"]) == ("default", "pending", 0)
    assert job["max_attempts"] == 3
    assert job["created_at"].endswith("Z")
    found = await front.client.get(made.headers["location"])
    assert found.status_code == 200
    assert found.json() == job


@pytest.mark.parametrize(
    "due",
    [
        {"delay_s": 3600},
        {"run_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
        {"run_at": "2100-01-01T01:00:00+01:00"},
    ],
)
async def test_a_job_for_later_is_scheduled(front: Front, due: dict[str, Any]) -> None:
    made = await front.client.post("/v1/jobs", json={"type": "noop", **due})

    assert made.json()["status"] == "scheduled"
    assert (await front.client.get(made.headers["location"])).json() == made.json()


async def test_a_job_that_was_due_is_due_now(front: Front) -> None:
    made = await front.client.post(
        "/v1/jobs", json={"type": "noop", "run_at": "2001-01-01T00:00:00Z"}
    )

    assert made.json()["status"] == "pending"
    assert made.json()["run_at"] == made.json()["created_at"]
    assert (await front.client.get(made.headers["location"])).json() == made.json()


@pytest.mark.parametrize("by_header", [True, False])
async def test_the_same_key_and_body_is_the_same_job(front: Front, *, by_header: bool) -> None:
    body: dict[str, Any] = {"type": "greet", "payload": {"to": "you", "times": 2}}
    again: dict[str, Any] = {"payload": {"times": 2, "to": "you"}, "type": "greet"}
    headers = {"idempotency-key": "k-1"} if by_header else {}
    if not by_header:
        body["idempotency_key"] = again["idempotency_key"] = "k-1"

    first = await front.client.post("/v1/jobs", json=body, headers=headers)
    second = await front.client.post("/v1/jobs", json=again, headers=headers)

    assert (first.status_code, second.status_code) == (201, 200)
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert second.json() == first.json()
    assert first.json()["idempotency_key"] == "k-1"


async def test_the_same_key_for_another_body_is_invalid(front: Front) -> None:
    headers = {"idempotency-key": "k-1"}
    await front.client.post("/v1/jobs", json={"type": "noop"}, headers=headers)

    other = await front.client.post(
        "/v1/jobs", json={"type": "noop", "priority": 1}, headers=headers
    )

    assert other.status_code == 422
    assert other.json()["errors"][0]["pointer"] == "/idempotency_key"


async def test_a_key_is_its_tenants_own(front: Front) -> None:
    headers = {"idempotency-key": "k-1"}
    mine = await front.client.post("/v1/jobs", json={"type": "noop"}, headers=headers)

    theirs = await front.stranger.post("/v1/jobs", json={"type": "noop"}, headers=headers)

    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/type"),
        ({"type": "nonsense"}, "/type"),
        ({"type": "noop", "queue": "nowhere"}, "/queue"),
        ({"type": "noop", "colour": "red"}, "/colour"),
        ({"type": "noop", "priority": 1_001}, "/priority"),
        ({"type": "noop", "max_attempts": 0}, "/max_attempts"),
        ({"type": "noop", "delay_s": -1}, "/delay_s"),
        ({"type": "noop", "delay_s": 1, "run_at": "2100-01-01T00:00:00Z"}, "/delay_s"),
        ({"type": "noop", "run_at": "2100-01-01T00:00:00"}, "/run_at"),
        ({"type": "noop", "run_at": "9999-12-31T23:59:59-12:00"}, "/run_at"),
        ({"type": "noop", "run_at": "0001-01-01T00:00:00+12:00"}, "/run_at"),
        ({"type": "noop", "idempotency_key": ""}, "/idempotency_key"),
        ({"type": "greet"}, "/payload"),
        ({"type": "greet", "payload": {}}, "/payload/to"),
        ({"type": "greet", "payload": {"to": "you", "times": "2"}}, "/payload/times"),
        ({"type": "noop", "payload": {"a": "\x00"}}, "/payload/a"),
    ],
)
async def test_what_is_wrong_is_pointed_at(
    front: Front, body: dict[str, Any], pointer: str
) -> None:
    answer = await front.client.post("/v1/jobs", json=body)

    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


async def test_a_batch_comes_back_in_order(front: Front) -> None:
    asked = [{"type": "greet", "payload": {"to": str(n)}} for n in range(25)]

    made = await front.client.post("/v1/jobs/batch", json={"jobs": asked})

    assert made.status_code == 201
    assert [job["payload"]["to"] for job in made.json()["jobs"]] == [str(n) for n in range(25)]
    last = made.json()["jobs"][-1]
    assert (await front.client.get(f"/v1/jobs/{last['id']}")).json() == last


NO_ONE: dict[str, Any] = {"type": "greet", "payload": {}}
WRONG_BATCHES: list[tuple[list[dict[str, Any]], str]] = [
    ([], "/jobs"),
    ([{"type": "noop"}] * 1_001, "/jobs"),
    ([{"type": "noop"}, NO_ONE], "/jobs/1/payload/to"),
    ([NO_ONE], "/jobs/0/payload/to"),
    ([{"type": "noop", "idempotency_key": "k"}], "/jobs/0/idempotency_key"),
    ([{"type": "noop", "run_at": "9999-12-31T23:00:00-12:00"}], "/jobs/0/run_at"),
]


@pytest.mark.parametrize(("jobs", "pointer"), WRONG_BATCHES)
async def test_a_batch_is_all_or_nothing(
    front: Front, jobs: list[dict[str, Any]], pointer: str
) -> None:
    answer = await front.client.post("/v1/jobs/batch", json={"jobs": jobs})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    async with front.pool.connection() as conn:
        cursor = await conn.execute("SELECT count(*) AS n FROM signalstack.jobs")
        row = await cursor.fetchone()
    assert row is not None
    assert row["n"] == 0


async def test_a_batch_takes_no_idempotency_key(front: Front) -> None:
    answer = await front.client.post(
        "/v1/jobs/batch", json={"jobs": [{"type": "noop"}]}, headers={"idempotency-key": "k"}
    )

    assert answer.status_code == 422
    assert "create each job by itself (POST /v1/jobs)" in answer.json()["detail"]


async def test_an_unknown_and_a_foreign_job_look_the_same(front: Front) -> None:
    made = await front.client.post("/v1/jobs", json={"type": "noop"})

    foreign = await front.stranger.get(made.headers["location"])
    unknown = await front.client.get(f"/v1/jobs/{uuid4()}")
    no_id = await front.client.get("/v1/jobs/17")

    assert {foreign.status_code, unknown.status_code, no_id.status_code} == {404}
    assert foreign.json()["title"] == unknown.json()["title"] == no_id.json()["title"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer nonsense"}, 401),
        ({"x-api-key": "ss_test_000000000000_" + "0" * 43 + "_000000"}, 401),
        ({"authorization": "Bearer a", "x-api-key": "b"}, 400),
    ],
)
async def test_without_a_good_key_nothing_is_told(
    front: Front, headers: dict[str, str], status: int
) -> None:
    answer = await front.anonymous.post("/v1/jobs", content=b"{", headers=headers)

    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_a_key_does_what_its_scopes_allow(front: Front) -> None:
    made = await front.client.post("/v1/jobs", json={"type": "noop"})
    reader = await make_key(front.pool, "acme", Scope.READ)
    writer = await make_key(front.pool, "acme", Scope.WRITE)

    async with client_of(front.app, reader) as read, client_of(front.app, writer) as write:
        statuses = [
            (await client.request(method, path, json={"type": "noop"})).status_code
            for client in (read, write)
            for method, path in (("GET", made.headers["location"]), ("POST", "/v1/jobs"))
        ]

    assert statuses == [200, 403, 403, 201]


async def test_a_key_may_come_in_its_own_header(front: Front) -> None:
    token = await make_key(front.pool, "acme", Scope.ADMIN)

    answer = await front.anonymous.post(
        "/jobs", json={"type": "noop"}, headers={"x-api-key": token}
    )

    assert answer.status_code == 201
