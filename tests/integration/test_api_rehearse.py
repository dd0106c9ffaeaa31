"""Changing subscriptions over HTTP, and trying them out with an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from front import Front, client_of, make_key, open_front
from rows import connect, value
from signalstack.core.key import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SUBSCRIPTION = {
    "name": "receipts",
    "event_type": "order.*",
    "filter": {"amount": [{"numeric": [">", 10]}]},
    "job": {"type": "greet", "payload": {"to": {"$": "payload.customer"}}, "priority": 5},
}
PAID = {"type": "order.paid", "payload": {"customer": "Ada", "amount": 42}}


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url) as front:
        yield front


@pytest.fixture
async def made(front: Front) -> dict[str, Any]:
    answer = await front.client.post("/v1/subscriptions", json=SUBSCRIPTION)
    assert answer.status_code == 201
    return answer.json()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "bills"},
        {"event_type": "*"},
        {"filter": None},
        {"filter": {"amount": [1]}},
        {"job": {"type": "noop"}},
        {"active": False},
        {},
    ],
)
async def test_what_is_named_changes_and_the_rest_stays(
    front: Front, made: dict[str, Any], change: dict[str, Any]
) -> None:
    path = f"/v1/subscriptions/{made['id']}"

    answer = await front.client.patch(path, json=change)

    assert answer.status_code == 200
    told = answer.json()
    assert told == (await front.client.get(path)).json()
    for name, item in change.items():
        if name == "job":
            assert told["job"]["type"] == item["type"]
            assert told["job"]["payload"] is None
        else:
            assert told[name] == item
    kept = set(made) - set(change) - {"updated_at"}
    assert {name: told[name] for name in kept} == {name: made[name] for name in kept}


async def test_next_event_is_matched_by_the_change(front: Front, made: dict[str, Any]) -> None:
    path = f"/v1/subscriptions/{made['id']}"
    jobs = [len((await front.client.post("/v1/events", json=PAID)).json()["jobs"])]
    for change in ({"active": False}, {"active": True}, {"event_type": "order.sent"}):
        await front.client.patch(path, json=change)
        jobs.append(len((await front.client.post("/v1/events", json=PAID)).json()["jobs"]))

    assert jobs == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"event_type": "a*b"}, "/event_type"),
        ({"filter": {}}, "/filter"),
        ({"filter": {"a": 1}}, "/filter/a"),
        ({"job": {"type": "none"}}, "/job/type"),
        ({"job": {"type": "noop", "queue": "nowhere"}}, "/job/queue"),
        ({"job": {"type": "noop", "payload": {"$": "("}}}, "/job/payload"),
        ({"job": {"type": "greet", "payload": {"to": 5}}}, "/job/payload/to"),
        ({"job": None}, "/job"),
        ({"id": str(uuid4())}, "/id"),
    ],
)
async def test_a_wrong_change_is_pointed_at_and_changes_nothing(
    front: Front, made: dict[str, Any], change: dict[str, Any], pointer: str, database_url: str
) -> None:
    answer = await front.client.patch(f"/v1/subscriptions/{made['id']}", json=change)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    async with connect(database_url) as conn:
        version = "SELECT subscriptions_version FROM signalstack.users WHERE name = 'acme'"
        assert await value(conn, version) == 1


async def test_a_used_name_is_a_conflict(front: Front, made: dict[str, Any]) -> None:
    await front.client.post("/v1/subscriptions", json={**SUBSCRIPTION, "name": "other"})

    answer = await front.client.patch(f"/v1/subscriptions/{made['id']}", json={"name": "other"})

    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("method", "suffix", "body"), [("PATCH", "", {"active": False}), ("POST", "/test", PAID)]
)
async def test_what_is_foreign_or_unknown_is_not_found(
    front: Front, made: dict[str, Any], method: str, suffix: str, body: dict[str, Any]
) -> None:
    path = f"/v1/subscriptions/{made['id']}{suffix}"
    unknown = f"/v1/subscriptions/{uuid4()}{suffix}"

    assert (await front.stranger.request(method, path, json=body)).status_code == 404
    assert (await front.client.request(method, unknown, json=body)).status_code == 404
    assert (await front.anonymous.request(method, path, json=body)).status_code == 401


async def test_reading_key_may_try_out_and_not_change(front: Front, made: dict[str, Any]) -> None:
    path = f"/v1/subscriptions/{made['id']}"
    async with client_of(front.app, await make_key(front.pool, "acme", Scope.READ)) as reader:
        assert (await reader.patch(path, json={})).status_code == 403
        assert (await reader.post(f"{path}/test", json=PAID)).status_code == 200


async def test_event_shows_the_job_that_it_would_become(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    answer = await front.client.post(f"/v1/subscriptions/{made['id']}/test", json=PAID)

    assert answer.status_code == 200
    assert answer.json() == {
        "matches": True,
        "reason": None,
        "jobs": [
            {
                "type": "greet",
                "queue": "default",
                "payload": {"to": "Ada"},
                "priority": 5,
                "max_attempts": None,
                "delay_s": None,
                "errors": [],
            }
        ],
    }
    async with connect(database_url) as conn:
        assert await value(conn, "SELECT count(*) FROM signalstack.events") == 0
        assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 0


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({**PAID, "type": "user.made"}, "'user.made' is not taken: 'order.*' is"),
        ({**PAID, "payload": {"amount": 1}}, "the filter does not take"),
    ],
)
async def test_event_that_is_not_taken_is_told_why(
    front: Front, made: dict[str, Any], event: dict[str, Any], says: str
) -> None:
    answer = (await front.client.post(f"/v1/subscriptions/{made['id']}/test", json=event)).json()

    assert (answer["matches"], answer["jobs"]) == (False, [])
    assert says in answer["reason"]


async def test_payload_that_its_type_would_not_take_is_pointed_at(
    front: Front, made: dict[str, Any]
) -> None:
    event = {**PAID, "payload": {"customer": 7, "amount": 11}}

    answer = (await front.client.post(f"/v1/subscriptions/{made['id']}/test", json=event)).json()

    (job,) = answer["jobs"]
    assert job["payload"] == {"to": 7}
    assert [fault["pointer"] for fault in job["errors"]] == ["/payload/to"]


async def test_inactive_subscription_shows_what_it_would_do(
    front: Front, made: dict[str, Any]
) -> None:
    path = f"/v1/subscriptions/{made['id']}"
    await front.client.patch(path, json={"active": False})

    answer = (await front.client.post(f"{path}/test", json=PAID)).json()

    assert answer["matches"]
    assert "not active" in answer["reason"]
    assert len(answer["jobs"]) == 1


@pytest.mark.parametrize(
    ("event", "pointer"),
    [
        ({}, "/type"),
        ({"type": "a*"}, "/type"),
        ({"type": "a\n"}, "/type"),
        ({**PAID, "x": 1}, "/x"),
    ],
)
async def test_what_is_no_event_is_refused(
    front: Front, made: dict[str, Any], event: dict[str, Any], pointer: str
) -> None:
    answer = await front.client.post(f"/v1/subscriptions/{made['id']}/test", json=event)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
