"""Events over HTTP against a real database: plain, and CloudEvents in all three modes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from psycopg.conninfo import make_conninfo

from front import Front, open_front
from signalstack.api.parts import Limits
from signalstack.core.stage import EventReceived

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
PAID = {"type": "order.paid", "payload": {"customer": "Ada", "amount": 42}}
CLOUD = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/shop",
    "type": "order.paid",
    "subject": "o-7",
    "time": "2026-03-01T12:00:00+01:00",
    "data": {"customer": "Ada", "amount": 42},
}


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url) as front:
        await front.client.post(
            "/v1/subscriptions",
            json={
                "name": "receipts",
                "event_type": "order.*",
                "filter": {"amount": [{"numeric": [">", 10]}]},
                "job": {"type": "greet", "payload": {"to": {"$": "payload.customer"}}},
            },
        )
        yield front


async def test_texts_are_kept_whatever_encoding_the_database_is_used_with(
    database_url: str,
) -> None:
    """As by PGCLIENTENCODING, or `ALTER ROLE … SET client_encoding`."""
    async with open_front(make_conninfo(database_url, client_encoding="LATIN1")) as front:
        job = {"name": "漢", "event_type": "ü€*", "job": {"type": "noop"}}
        subscribed = await front.client.post("/v1/subscriptions", json=job)
        received = await front.client.post("/v1/events", json={"type": "ü€漢"})
        kept = await front.client.get(f"/v1/events/{received.json()['id']}")

    assert (subscribed.status_code, received.status_code) == (201, 201)
    assert kept.json()["type"] == "ü€漢"


async def test_an_event_becomes_the_jobs_that_are_subscribed(front: Front) -> None:
    received = await front.client.post("/v1/events", json=PAID)

    assert received.status_code == 201
    event = received.json()
    assert set(event) == {"id", "type", "created_at", "jobs"}
    (job,) = event["jobs"]
    assert (job["type"], job["queue"]) == ("greet", "default")
    made = (await front.client.get(f"/v1/jobs/{job['id']}")).json()
    assert made["payload"] == {"to": "Ada"}
    assert made["event_id"] == event["id"]
    found = await front.client.get(received.headers["location"])
    assert found.status_code == 200
    assert found.json()["payload"] == PAID["payload"]
    assert found.json()["jobs"] == [{**job, "status": "pending"}]
    assert EventReceived(outcome="accepted") in front.witness.facts


async def test_an_event_that_nobody_waits_for_is_kept(front: Front) -> None:
    received = await front.client.post("/v1/events", json={"type": "order.sent"})

    assert received.status_code == 201
    assert received.json()["jobs"] == []


async def test_the_same_key_is_the_same_event(front: Front) -> None:
    headers = {"idempotency-key": "k-1"}

    first = await front.client.post("/v1/events", json=PAID, headers=headers)
    second = await front.client.post("/v1/events", json=PAID, headers=headers)
    other = await front.client.post("/v1/events", json={"type": "other"}, headers=headers)

    assert (first.status_code, second.status_code, other.status_code) == (201, 200, 422)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.json() == first.json()
    assert EventReceived(outcome="duplicate") in front.witness.facts


async def test_an_event_of_its_senders_id_is_known_by_it(front: Front) -> None:
    event = {**PAID, "id": "e-1", "source": "/shop", "occurred_at": "2026-03-01T12:00:00+01:00"}

    first = await front.client.post("/v1/events", json=event)
    second = await front.client.post("/v1/events", json=event)
    cloud = await front.client.post("/v1/events", content=json.dumps(CLOUD), headers=STRUCTURED)

    assert [first.status_code, second.status_code, cloud.status_code] == [201, 200, 200]
    assert first.json() == second.json() == cloud.json()
    found = (await front.client.get(first.headers["location"])).json()
    assert found["occurred_at"] == "2026-03-01T11:00:00Z"
    assert found["external_id"] == "e-1"


@pytest.mark.parametrize("to_message", [to_binary_event, to_structured_event])
async def test_what_the_sdk_sends_is_understood(front: Front, to_message: Any) -> None:
    event = CloudEvent(
        {name: CLOUD[name] for name in ("specversion", "id", "source", "type", "subject")}
        | {"datacontenttype": "application/json"},
        CLOUD["data"],  # pyright: ignore[reportArgumentType] - a JSON object
    )
    message = to_message(event)

    received = await front.client.post(
        "/v1/events", content=message.body, headers=dict(message.headers)
    )

    assert received.status_code == 201
    found = (await front.client.get(received.headers["location"])).json()
    assert found["payload"] == CLOUD["data"]
    assert (found["source"], found["subject"], found["external_id"]) == ("/shop", "o-7", "e-1")


async def test_a_batch_is_answered_in_order(front: Front) -> None:
    batch = [{**CLOUD, "id": f"e-{n}", "type": f"order.n{n}"} for n in range(20)]

    first = await front.client.post("/v1/events", content=json.dumps(batch), headers=BATCH)
    second = await front.client.post("/v1/events", content=json.dumps(batch), headers=BATCH)
    more = await front.client.post(
        "/v1/events", content=json.dumps([*batch, {**CLOUD, "id": "new"}]), headers=BATCH
    )

    assert (first.status_code, second.status_code, more.status_code) == (201, 200, 201)
    events = first.json()["events"]
    assert [event["type"] for event in events] == [f"order.n{n}" for n in range(20)]
    assert all(len(event["jobs"]) == 1 for event in events)
    assert second.json() == first.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert more.json()["events"][:20] == events


async def test_an_empty_batch_is_nothing(front: Front) -> None:
    received = await front.client.post("/v1/events", content=b"[]", headers=BATCH)

    assert received.status_code == 200
    assert received.json() == {"events": []}


async def test_one_wrong_event_refuses_its_batch(front: Front) -> None:
    batch = [CLOUD, {**CLOUD, "id": ""}]

    refused = await front.client.post("/v1/events", content=json.dumps(batch), headers=BATCH)
    alone = await front.client.post("/v1/events", content=json.dumps(CLOUD), headers=STRUCTURED)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/1/id"
    assert alone.status_code == 201
    assert EventReceived(outcome="rejected") in front.witness.facts


@pytest.mark.parametrize(
    ("headers", "content", "status", "pointer"),
    [
        ({"content-type": "application/json"}, b"{", 400, None),
        ({"content-type": "application/json"}, b"{}", 422, "/type"),
        ({"content-type": "application/json"}, b'{"type": "a b"}', 422, "/type"),
        ({"content-type": "application/json"}, b'{"type": "a*"}', 422, "/type"),
        ({"content-type": "application/json"}, b'{"type": "a", "data": 1}', 422, "/data"),
        (
            {"content-type": "application/json"},
            b'{"type": "a", "occurred_at": "0001-01-01T00:00:00+01:00"}',
            422,
            "/occurred_at",
        ),
        ({"content-type": "text/plain"}, b"{}", 415, None),
        ({"content-type": "application/cloudevents+avro"}, b"{}", 415, None),
        ({**STRUCTURED, "content-encoding": "br"}, b"{}", 415, None),
        (STRUCTURED, b"[]", 422, ""),
        (BATCH, b"{}", 422, ""),
        ({**BATCH, "idempotency-key": "k"}, b"[]", 422, None),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a"}, b"", 422, "/type"),
    ],
)
async def test_what_is_no_event_is_refused(
    front: Front, headers: dict[str, str], content: bytes, status: int, pointer: str | None
) -> None:
    answer = await front.client.post("/v1/events", content=content, headers=headers)

    assert answer.status_code == status
    if pointer is not None:
        assert pointer in [fault["pointer"] for fault in answer.json()["errors"]]
    assert EventReceived(outcome="rejected") in front.witness.facts or status == 415


@pytest.mark.parametrize(
    ("headers", "body"), [({"content-type": "application/json"}, PAID), (BATCH, [CLOUD])]
)
async def test_without_postgresql_nothing_is_accepted(
    front: Front, headers: dict[str, str], body: object
) -> None:
    front.link.drop("PostgreSQL is away")

    answer = await front.client.post("/v1/events", content=json.dumps(body), headers=headers)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_an_unknown_and_a_foreign_event_look_the_same(front: Front) -> None:
    received = await front.client.post("/v1/events", json=PAID)

    foreign = await front.stranger.get(received.headers["location"])
    unknown = await front.client.get(f"/v1/events/{uuid4()}")

    assert (foreign.status_code, unknown.status_code) == (404, 404)


async def test_subscriptions_of_others_make_no_jobs(front: Front) -> None:
    received = await front.stranger.post("/v1/events", json=PAID)

    assert received.json()["jobs"] == []


async def test_a_batch_that_takes_long_says_how_far_it_came_and_goes_on_when_sent_again(
    database_url: str,
) -> None:
    # Each event alone takes a part of the time that a request has, and all together more than it.
    dear = [{"numeric": [">", n + 1]} for n in range(30)]
    batch = [{**CLOUD, "id": f"dear-{n}", "data": {"a": [1] * 2_000}} for n in range(30)]
    stored, said = [0], ""
    async with open_front(database_url, limits=Limits(request_timeout_s=3)) as front:
        for n in range(3):
            subscription = {"name": f"dear {n}", "event_type": "*", "filter": {"a": dear}}
            made = await front.client.post(
                "/v1/subscriptions", json={**subscription, "job": {"type": "noop"}}
            )
            assert made.status_code == 201, made.text

        while stored[-1] < len(batch):
            answer = await front.client.post("/v1/events", content=json.dumps(batch), headers=BATCH)
            said += answer.json().get("detail", "")
            listed = await front.client.get("/v1/events?limit=100")
            stored.append(len(listed.json()["data"]))
            # A machine that is busy with others may let a whole request pass: not often.
            assert len(stored) < 3 * len(batch), answer.text
        repeated = await front.client.post("/v1/events", content=json.dumps(batch), headers=BATCH)

    assert len(stored) > 2, "all of it was stored at once: the batch is not dear enough"
    assert re.search(
        r"take long .*: (\d+) were stored .*, \d+ of 30 .*; send the batch again, .* at most \1",
        said,
    ), said
    assert repeated.status_code == 200, repeated.text
    assert [event["type"] for event in repeated.json()["events"]] == ["order.paid"] * 30
