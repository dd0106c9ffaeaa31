"""Changing endpoints over HTTP, rotating their secrets, and what failing does to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from front import Front, client_of, make_key, open_front
from rows import connect, value
from signalstack.core.key import Scope
from signalstack.usecases import endpoints

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ENDPOINT = {
    "name": "shop",
    "url": "https://example.com/hook",
    "headers": {"x-team": "a"},
    "rate": {"limit": 5},
}


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url) as front:
        yield front


@pytest.fixture
async def made(front: Front) -> dict[str, Any]:
    answer = await front.client.post("/v1/endpoints", json=ENDPOINT)
    assert answer.status_code == 201
    return answer.json()


async def tenant(dsn: str) -> UUID:
    async with connect(dsn) as conn:
        return await value(conn, "SELECT id FROM signalstack.users WHERE name = 'acme'")


async def age(dsn: str, *, failing_h: float, failures: int, counted_s: float = 120) -> None:
    """Let the endpoint have failed for that long, that often, and last that long ago."""
    async with connect(dsn) as conn:
        await conn.execute(
            "UPDATE signalstack.endpoints SET failing_since = now() - %s * interval '1 hour', "
            "failures = %s, failed_at = now() - %s * interval '1 second'",
            (failing_h, failures, counted_s),
        )


@pytest.mark.parametrize(
    "change",
    [
        {"name": "store"},
        {"url": "https://example.org/other"},
        {"headers": {}},
        {"rate": {"limit": 1, "per_s": 60.0, "burst": 2}},
        {"rate": None},
        {"active": False},
        {},
        {"name": "shop", "active": True, "headers": {"x-new": "1"}},
    ],
)
async def test_what_is_named_changes_and_the_rest_stays(
    front: Front, made: dict[str, Any], change: dict[str, Any]
) -> None:
    path = f"/v1/endpoints/{made['id']}"

    answer = await front.client.patch(path, json=change)

    assert answer.status_code == 200
    expected = {name: item for name, item in made.items() if name != "secret"} | change
    told = answer.json()
    assert told.pop("updated_at") >= expected.pop("updated_at")
    assert told == expected
    assert (await front.client.get(path)).json() == {
        **told,
        "updated_at": answer.json()["updated_at"],
    }


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"url": "https://127.0.0.1/"}, "/url"),
        ({"url": ""}, "/url"),
        ({"headers": {"webhook-id": "x"}}, "/headers"),
        ({"headers": None}, "/headers"),
        ({"rate": {"limit": 0}}, "/rate/limit"),
        ({"name": "a\n"}, "/name"),
        ({"name": None}, "/name"),
        ({"secret": "mine"}, "/secret"),
        ({"disabled_reason": None}, "/disabled_reason"),
    ],
)
async def test_a_wrong_change_is_pointed_at(
    front: Front, made: dict[str, Any], change: dict[str, Any], pointer: str
) -> None:
    answer = await front.client.patch(f"/v1/endpoints/{made['id']}", json=change)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_a_rate_is_shown_with_the_burst_that_holds(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    path = f"/v1/endpoints/{made['id']}"

    shown = [
        made,
        (await front.client.get(path)).json(),
        (await front.client.get("/v1/endpoints")).json()["data"][0],
        (await front.client.post(f"{path}/rotate-secret")).json(),
    ]
    changed = await front.client.patch(path, json={"rate": {"limit": 7}})

    assert [each["rate"] for each in shown] == [{"limit": 5, "per_s": 1.0, "burst": 5}] * 4
    assert changed.json()["rate"] == {"limit": 7, "per_s": 1.0, "burst": 7}
    async with connect(database_url) as conn:
        kept = await value(conn, "SELECT rate FROM signalstack.endpoints")
    assert kept == {"limit": 7, "per_s": 1.0, "burst": None}


async def test_a_used_name_is_a_conflict(front: Front, made: dict[str, Any]) -> None:
    await front.client.post("/v1/endpoints", json={**ENDPOINT, "name": "other"})

    answer = await front.client.patch(f"/v1/endpoints/{made['id']}", json={"name": "other"})

    assert answer.status_code == 409
    assert "'other'" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "suffix"), [("PATCH", ""), ("POST", "/rotate-secret")])
async def test_who_may_not_change_an_endpoint(
    front: Front, made: dict[str, Any], method: str, suffix: str
) -> None:
    path = f"/v1/endpoints/{made['id']}{suffix}"
    reader = await make_key(front.pool, "acme", Scope.READ)

    async with client_of(front.app, reader) as client:
        assert (await client.request(method, path, json={})).status_code == 403
    assert (await front.stranger.request(method, path, json={})).status_code == 404
    assert (await front.anonymous.request(method, path, json={})).status_code == 401
    unknown = f"/v1/endpoints/{uuid4()}{suffix}"
    assert (await front.client.request(method, unknown, json={})).status_code == 404
    assert (
        await front.client.request(method, f"/v1/endpoints/7{suffix}", json={})
    ).status_code == 404
    answer = await front.client.request(
        method, path, content=b"{}", headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 415


async def test_both_secrets_sign_during_the_overlap(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    user_id, endpoint_id = await tenant(database_url), UUID(made["id"])

    answer = await front.client.post(f"/v1/endpoints/{made['id']}/rotate-secret")

    assert answer.status_code == 200
    rotated = answer.json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != made["secret"]
    until = datetime.fromisoformat(rotated["previous_secret_until"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=58) < until <= timedelta(hours=24)
    found = await endpoints.get_for_delivery(front.pool, user_id, endpoint_id)
    assert found is not None
    assert found.secrets == [rotated["secret"], made["secret"]]
    shown = await front.client.get(f"/v1/endpoints/{made['id']}")
    assert "secret" not in shown.text


async def test_second_rotation_ends_the_first_secret(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    path = f"/v1/endpoints/{made['id']}/rotate-secret"
    first = (await front.client.post(path, json={"overlap_s": 60})).json()
    second = (await front.client.post(path, json={"overlap_s": 60})).json()

    found = await endpoints.get_for_delivery(
        front.pool, await tenant(database_url), UUID(made["id"])
    )

    assert found is not None
    assert found.secrets == [second["secret"], first["secret"]]


async def test_rotation_without_overlap_ends_the_old_secret_at_once(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    answer = await front.client.post(
        f"/v1/endpoints/{made['id']}/rotate-secret", json={"overlap_s": 0}
    )

    found = await endpoints.get_for_delivery(
        front.pool, await tenant(database_url), UUID(made["id"])
    )

    assert answer.json()["previous_secret_until"] is None
    assert found is not None
    assert found.secrets == [answer.json()["secret"]]


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"overlap_s": -1}, 422, "/overlap_s"),
        ({"overlap_s": 10_000_000}, 422, "/overlap_s"),
        ({"overlap": 1}, 422, "/overlap"),
        ([], 422, ""),
    ],
)
async def test_a_wrong_rotation_is_refused(
    front: Front, made: dict[str, Any], body: object, status: int, pointer: str
) -> None:
    answer = await front.client.post(f"/v1/endpoints/{made['id']}/rotate-secret", json=body)

    assert answer.status_code == status
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_endpoint_that_failed_for_days_is_switched_off_and_says_why(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    user_id, endpoint_id = await tenant(database_url), UUID(made["id"])
    await age(database_url, failing_h=73, failures=9)

    assert await endpoints.record_failure(
        front.pool, user_id, endpoint_id, made["url"], "503 it said"
    )
    assert not await endpoints.record_failure(
        front.pool, user_id, endpoint_id, made["url"], "once more"
    )

    shown = (await front.client.get(f"/v1/endpoints/{made['id']}")).json()
    assert not shown["active"]
    assert shown["disabled_reason"].startswith("every delivery has failed since 2")
    assert shown["disabled_reason"].endswith("Z; the last one: 503 it said")
    assert shown["failing_since"] is not None


async def test_switching_it_on_again_begins_a_new_account(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    user_id, endpoint_id = await tenant(database_url), UUID(made["id"])
    await age(database_url, failing_h=73, failures=9)
    await endpoints.record_failure(front.pool, user_id, endpoint_id, made["url"], "503")

    answer = await front.client.patch(f"/v1/endpoints/{made['id']}", json={"active": True})

    assert answer.json()["active"]
    assert (answer.json()["disabled_reason"], answer.json()["failing_since"]) == (None, None)
    assert not await endpoints.record_failure(front.pool, user_id, endpoint_id, made["url"], "503")
    assert (await front.client.get(f"/v1/endpoints/{made['id']}")).json()["active"]


async def test_another_url_begins_a_new_account(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    user_id, endpoint_id = await tenant(database_url), UUID(made["id"])
    await age(database_url, failing_h=73, failures=9)

    change = {"url": "https://elsewhere.example.com/hook"}
    answer = await front.client.patch(f"/v1/endpoints/{made['id']}", json=change)

    assert answer.json()["failing_since"] is None
    assert not await endpoints.record_failure(
        front.pool, user_id, endpoint_id, change["url"], "503"
    )


@pytest.mark.parametrize(("failing_h", "failures"), [(71, 1_000), (1_000, 8)])
async def test_failing_shortly_or_seldom_is_forgiven(
    front: Front, made: dict[str, Any], database_url: str, failing_h: float, failures: int
) -> None:
    await age(database_url, failing_h=failing_h, failures=failures)

    assert not await endpoints.record_failure(
        front.pool, await tenant(database_url), UUID(made["id"]), made["url"], "503"
    )

    assert (await front.client.get(f"/v1/endpoints/{made['id']}")).json()["active"]


async def test_failures_within_a_minute_are_one_write(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    user_id, endpoint_id = await tenant(database_url), UUID(made["id"])
    for _ in range(5):
        await endpoints.record_failure(front.pool, user_id, endpoint_id, made["url"], "503")

    async with connect(database_url) as conn:
        assert await value(conn, "SELECT failures FROM signalstack.endpoints") == 1


async def test_success_ends_the_account_of_failures(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    user_id, endpoint_id = await tenant(database_url), UUID(made["id"])
    await endpoints.record_failure(front.pool, user_id, endpoint_id, made["url"], "503")
    before = await endpoints.get_for_delivery(front.pool, user_id, endpoint_id)
    await endpoints.clear_failures(front.pool, user_id, endpoint_id)
    after = await endpoints.get_for_delivery(front.pool, user_id, endpoint_id)

    assert before is not None
    assert after is not None
    assert (before.failing, after.failing) == (True, False)
    assert (await front.client.get(f"/v1/endpoints/{made['id']}")).json()["failing_since"] is None


async def test_answer_of_the_old_url_changes_nothing_for_the_new_one(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    at_old = (front.pool, await tenant(database_url), UUID(made["id"]), made["url"])
    path, url = f"/v1/endpoints/{made['id']}", "https://new.example.com/hook"
    before = (await front.client.patch(path, json={"url": url})).json()

    await endpoints.hold(*at_old, 600)
    await endpoints.record_failure(*at_old, "503")
    await endpoints.disable(*at_old, "410 Gone")

    assert (await front.client.get(path)).json() == before
    assert await endpoints.disable(*at_old[:3], url, "410 Gone")


async def test_failures_of_another_tenants_endpoint_are_not_counted(
    front: Front, made: dict[str, Any], database_url: str
) -> None:
    await endpoints.record_failure(front.pool, uuid4(), UUID(made["id"]), made["url"], "503")

    async with connect(database_url) as conn:
        assert await value(conn, "SELECT failures FROM signalstack.endpoints") == 0
