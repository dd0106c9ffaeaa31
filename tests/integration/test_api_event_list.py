"""Lists of events over HTTP: pages, filters, and that an index serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from front import Front, client_of, make_key, open_front
from rows import connect, rows
from signalstack.core.key import Scope
from signalstack.store.query import read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url) as front:
        yield front


async def send(front: Front, *types: str) -> list[dict[str, Any]]:
    sent = [await front.client.post("/v1/events", json={"type": name}) for name in types]
    return [answer.json() for answer in sent]


async def ids(front: Front, **query: str | int) -> list[str]:
    answer = await front.client.get("/v1/events", params=query)
    assert answer.status_code == 200
    return [event["id"] for event in answer.json()["data"]]


async def test_newest_come_first_and_look_as_when_looked_up(front: Front) -> None:
    await front.client.post(
        "/v1/events", json={"type": "a", "payload": {"n": 1}, "id": "e-1", "source": "/s"}
    )
    await send(front, "b")

    listed = (await front.client.get("/v1/events")).json()

    assert [event["type"] for event in listed["data"]] == ["b", "a"]
    assert listed["next_cursor"] is None
    found = (await front.client.get(f"/v1/events/{listed['data'][1]['id']}")).json()
    assert {**listed["data"][1], "jobs": []} == found


async def test_pages_stay_as_they_were_while_events_come_in(front: Front) -> None:
    sent = await send(front, "a", "b", "c", "d", "e")
    seen: list[str] = []
    query: dict[str, str | int] = {"limit": 2}
    cursors: list[str | None] = []
    for _ in range(3):
        page = (await front.client.get("/v1/events", params=query)).json()
        seen += [event["id"] for event in page["data"]]
        cursors.append(page["next_cursor"])
        query["cursor"] = page["next_cursor"]
        await send(front, "late")

    assert seen == [event["id"] for event in reversed(sent)]
    assert [cursor is None for cursor in cursors] == [False, False, True]


async def test_type_is_exact(front: Front) -> None:
    sent = await send(front, "order.paid", "order.paid.late", "order.paid", "order")

    assert await ids(front, type="order.paid") == [sent[2]["id"], sent[0]["id"]]
    assert await ids(front, type="nothing") == []


async def test_pages_of_a_type_lead_on(front: Front) -> None:
    sent = await send(front, "a", "b", "a", "b", "a")

    first = (await front.client.get("/v1/events?type=a&limit=2")).json()
    second = await ids(front, type="a", limit=2, cursor=first["next_cursor"])

    assert [event["id"] for event in first["data"]] == [sent[4]["id"], sent[2]["id"]]
    assert second == [sent[0]["id"]]


async def test_created_from_one_moment_up_to_another(front: Front) -> None:
    one, two, three = await send(front, "a", "a", "a")

    assert await ids(front, created_after=two["created_at"]) == [three["id"], two["id"]]
    assert await ids(front, created_before=two["created_at"]) == [one["id"]]
    between = {"created_after": two["created_at"], "created_before": three["created_at"]}
    assert await ids(front, **between) == [two["id"]]
    assert await ids(front, type="a", **between) == [two["id"]]
    assert await ids(front, created_after="9999-12-31T23:59:59Z") == []
    assert await ids(front, created_before="0001-01-01T00:00:00Z") == []
    everything = [three["id"], two["id"], one["id"]]
    assert await ids(front, created_after="0001-01-01T00:00:00Z") == everything
    assert await ids(front, created_before="9999-12-31T23:59:59Z") == everything


async def test_cursor_is_good_for_its_own_list_alone(front: Front) -> None:
    await send(front, "a", "a", "a")
    cursor = (await front.client.get("/v1/events?type=a&limit=1")).json()["next_cursor"]

    for client, query in (
        (front.client, {"cursor": cursor}),
        (front.client, {"cursor": cursor, "type": "b"}),
        (front.client, {"cursor": cursor[:-1] + ("A" if cursor[-1] != "A" else "B"), "type": "a"}),
        (front.stranger, {"cursor": cursor, "type": "a"}),
    ):
        assert (await client.get("/v1/events", params=query)).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "cursor=x",
        "type=",
        "type=order.*",
        "type=a%0A",
        "created_after=yesterday",
        "created_after=2026-01-01",
        "created_after=2026-01-01T00:00:00",
        "created_before=0001-01-01T00:00:00%2B01:00",
        "created=1",
        "type=a&type=b",
    ],
)
async def test_a_wrong_query_is_malformed(front: Front, query: str) -> None:
    answer = await front.client.get(f"/v1/events?{query}")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_others_see_none_of_it(front: Front) -> None:
    await send(front, "a")

    assert (await front.stranger.get("/v1/events")).json() == {"data": [], "next_cursor": None}
    assert (await front.anonymous.get("/v1/events")).status_code == 401
    async with client_of(front.app, await make_key(front.pool, "acme", Scope.WRITE)) as writer:
        assert (await writer.get("/v1/events")).status_code == 403


@pytest.mark.parametrize(("name", "index"), [("list", "_pkey"), ("list_of_type", "_type_")])
async def test_page_is_read_by_an_index_in_its_order(
    database_url: str, name: str, index: str
) -> None:
    given = {
        "user_id": "'00000000-0000-0000-0000-000000000001'",
        "first": "'00000000-0000-0000-0000-000000000000'",
        "last": "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        "type": "'a'",
        "created_after": "NULL",
        "created_before": "NULL",
        "limit": "50",
    }
    text = read(f"events/{name}")
    for parameter, literal in given.items():
        text = text.replace(f"%({parameter})s", literal)
    async with connect(database_url) as conn:
        await conn.execute("SET enable_seqscan = off")
        plan = "\n".join(line for (line,) in await rows(conn, f"EXPLAIN {text}"))

    # Partitions, each in order by its index, are merged: only "Sort Key" may stand there.
    assert "Sort  (" not in plan
    assert index in plan


async def test_repeat_of_a_senders_event_is_stored_once(front: Front) -> None:
    event = {"type": "a", "id": "e-1", "source": "/shop"}
    answers = [await front.client.post("/v1/events", json=event) for _ in range(3)]
    other_source = await front.client.post("/v1/events", json={**event, "source": "/bar"})
    no_source = await front.client.post("/v1/events", json={"type": "a", "id": "e-1"})
    foreign = await front.stranger.post("/v1/events", json=event)

    assert [answer.status_code for answer in answers] == [201, 200, 200]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert [one.status_code for one in (other_source, no_source, foreign)] == [201, 201, 201]
    assert len(await ids(front)) == 3


async def test_repeat_of_another_type_is_what_it_was_first(front: Front) -> None:
    event = {"type": "a", "id": "e-1", "source": "/shop"}
    first = await front.client.post("/v1/events", json=event)
    second = await front.client.post("/v1/events", json={**event, "type": "b"})

    assert second.headers["idempotent-replayed"] == "true"
    assert second.json() == first.json()
