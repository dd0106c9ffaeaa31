"""Subscriptions and endpoints over HTTP against a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from front import Front, open_front

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SUBSCRIPTION = {
    "name": "receipts",
    "event_type": "order.*",
    "filter": {"amount": [{"numeric": [">", 10]}]},
    "job": {"type": "greet", "payload": {"to": {"$": "payload.customer"}}},
}
ENDPOINT = {"name": "shop", "url": "https://example.com/hook", "headers": {"x-team": "a"}}
KINDS = [("/v1/subscriptions", SUBSCRIPTION), ("/v1/endpoints", ENDPOINT)]


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url) as front:
        yield front


@pytest.mark.parametrize(("path", "body"), KINDS)
async def test_what_is_created_is_found_and_deleted(
    front: Front, path: str, body: dict[str, Any]
) -> None:
    made = await front.client.post(path, json=body)
    location = made.headers["location"]
    found = await front.client.get(location)
    gone = await front.client.delete(location)

    assert made.status_code == 201
    assert location == f"{path}/{made.json()['id']}"
    assert found.json() == {name: value for name, value in made.json().items() if name != "secret"}
    assert found.json()["name"] == body["name"]
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await front.client.get(location)).status_code == 404
    assert (await front.client.delete(location)).status_code == 404


@pytest.mark.parametrize(("path", "body"), KINDS)
async def test_a_list_is_read_page_by_page(front: Front, path: str, body: dict[str, Any]) -> None:
    for n in range(5):
        await front.client.post(path, json={**body, "name": f"n{n}"})
    await front.stranger.post(path, json=body)

    names: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        query: dict[str, str | int] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await front.client.get(path, params=query)).json()
        names += [item["name"] for item in page["data"]]
        cursor = page["next_cursor"]

    assert names == ["n0", "n1", "n2", "n3", "n4"]
    assert cursor is None


@pytest.mark.parametrize(("path", "_body"), KINDS)
@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor=AAAA", "cursor=%C3%A4", "q=1"]
)
async def test_a_wrong_query_is_malformed(
    front: Front, path: str, _body: dict[str, Any], query: str
) -> None:
    assert (await front.client.get(f"{path}?{query}")).status_code == 400


@pytest.mark.parametrize(("path", "body"), KINDS)
async def test_a_name_is_taken_once(front: Front, path: str, body: dict[str, Any]) -> None:
    await front.client.post(path, json=body)

    assert (await front.client.post(path, json=body)).status_code == 409
    assert (await front.stranger.post(path, json=body)).status_code == 201


@pytest.mark.parametrize(("path", "body"), KINDS)
async def test_a_foreign_one_is_not_found(front: Front, path: str, body: dict[str, Any]) -> None:
    location = (await front.client.post(path, json=body)).headers["location"]

    assert (await front.stranger.get(location)).status_code == 404
    assert (await front.stranger.delete(location)).status_code == 404
    assert (await front.client.get(f"{path}/{uuid4()}")).status_code == 404
    assert (await front.client.get(location)).status_code == 200


async def test_a_secret_is_shown_once(front: Front) -> None:
    made = await front.client.post("/v1/endpoints", json=ENDPOINT)
    found = await front.client.get(made.headers["location"])

    assert made.json()["secret"].startswith("whsec_")
    assert "secret" not in found.text


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/subscriptions", {**SUBSCRIPTION, "event_type": "a*b"}, "/event_type"),
        ("/v1/subscriptions", {**SUBSCRIPTION, "job": {"type": "none"}}, "/job/type"),
        ("/v1/subscriptions", {**SUBSCRIPTION, "job": {}}, "/job/type"),
        ("/v1/subscriptions", {**SUBSCRIPTION, "jobs": 1}, "/jobs"),
        (
            "/v1/subscriptions",
            {**SUBSCRIPTION, "job": {"type": "noop", "queue": "nowhere"}},
            "/job/queue",
        ),
        (
            "/v1/subscriptions",
            {**SUBSCRIPTION, "job": {"type": "greet", "payload": {"to": 5}}},
            "/job/payload/to",
        ),
        ("/v1/endpoints", {**ENDPOINT, "url": "https://127.0.0.1/"}, "/url"),
        ("/v1/endpoints", {**ENDPOINT, "headers": {"host": "a"}}, "/headers"),
        ("/v1/endpoints", {**ENDPOINT, "rate": {"limit": 0}}, "/rate/limit"),
    ],
)
async def test_what_is_wrong_is_pointed_at(
    front: Front, path: str, body: dict[str, Any], pointer: str
) -> None:
    answer = await front.client.post(path, json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
