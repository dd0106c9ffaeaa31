"""Messages and the scheduler over HTTP, with the jobs that stand behind them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import pytest

from boarding import ON_BOARD
from front import Front, client_of, make_key, open_front
from rows import connect, rows
from signalstack.core import job
from signalstack.core.handler import Fail, Retry
from signalstack.core.key import Scope
from signalstack.core.message import OF_JOB, Pace
from signalstack.core.stage import Settled
from signalstack.store import messages as table
from signalstack.usecases import messages
from working import Crew, Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from signalstack.core.handler import Context

PATIENCE_S = 20
NUMBER = "+905551111111"
OTHER_NUMBER = "+905552222222"
FAST = Pace(batch_size=1000, interval_s=1, workers=50)


@pytest.fixture
async def front(database_url: str) -> AsyncIterator[Front]:
    async with open_front(database_url, job_types=ON_BOARD) as front:
        yield front


async def post(front: Front, content: str = "Hello", **given: Any) -> dict[str, Any]:
    body = {"phone_number": NUMBER, "content": content} | given
    answer = await front.client.post("/v1/messages", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def get(front: Front, path: str) -> Any:
    answer = await front.client.get(f"/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@asynccontextmanager
async def at_work(
    database_url: str, front: Front, run: Callable[[Any, Context], Any], **options: Any
) -> AsyncGenerator[tuple[Shop, Crew]]:
    """Run a worker whose sender does what `run` says, at a pace that stands in nobody's way."""
    await messages.set_pace(front.pool, FAST)

    async def send(payload: dict[str, Any], context: Context) -> object:
        return run(payload, context)

    async with (
        open_shop(database_url) as shop,
        shop.worker({"send_message": (dict[str, Any], send)}, **options) as crew,
    ):
        yield shop, crew


async def test_a_message_is_stored_with_its_job(front: Front) -> None:
    content = "é" * 159 + "👋"

    answer = await front.client.post(
        "/v1/messages", json={"phone_number": NUMBER, "content": content}
    )

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/messages/{made['id']}"
    assert made == {
        "id": made["id"],
        "phone_number": NUMBER,
        "content": content,
        "status": "pending",
        "job_id": made["id"],
        "attempts": 0,
        "webhook_message_id": None,
        "sent_at": None,
        "last_error": None,
        "error_code": None,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    assert await get(front, f"messages/{made['id']}") == made
    of_job = await get(front, f"jobs/{made['job_id']}")
    assert (of_job["type"], of_job["queue"]) == ("send_message", "messages")
    assert of_job["payload"] == {"phone_number": NUMBER, "content": content}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"content": "Hello"}, ""),
        ({"phone_number": NUMBER}, ""),
        ({"phone_number": "905551111111", "content": "Hello"}, "/phone_number"),
        ({"phone_number": "+0905551111", "content": "Hello"}, "/phone_number"),
        ({"phone_number": "+1234567", "content": "Hello"}, "/phone_number"),
        ({"phone_number": "+1234567890123456", "content": "Hello"}, "/phone_number"),
        ({"phone_number": NUMBER + "\n", "content": "Hello"}, "/phone_number"),
        ({"phone_number": "+९०५५५११११", "content": "Hello"}, "/phone_number"),
        ({"phone_number": "+9995551111", "content": "Hello"}, "/phone_number"),
        ({"phone_number": "+4912", "content": "Hello"}, "/phone_number"),
        ({"phone_number": "+120255501234", "content": "Hello"}, "/phone_number"),
        ({"phone_number": NUMBER, "content": ""}, "/content"),
        ({"phone_number": NUMBER, "content": "x" * 161}, "/content"),
        ({"phone_number": NUMBER, "content": "👋" * 161}, "/content"),
        ({"phone_number": NUMBER, "content": "a\u0000b"}, "/content"),
        ({"phone_number": NUMBER, "content": 7}, "/content"),
        ({"phone_number": NUMBER, "content": "Hello", "to": "?"}, "/to"),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_a_pointer(
    front: Front, body: object, pointer: str
) -> None:
    answer = await front.client.post("/v1/messages", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert (await get(front, "messages"))["data"] == []


async def test_a_key_makes_one_message_and_is_apart_from_those_of_jobs(front: Front) -> None:
    headers = {"idempotency-key": "order-1"}
    body = {"phone_number": NUMBER, "content": "Hello"}
    of_job = await front.client.post("/v1/jobs", json={"type": "noop"}, headers=headers)
    first = await front.client.post("/v1/messages", json=body, headers=headers)
    again = await front.client.post("/v1/messages", json=body, headers=headers)
    other = await front.client.post("/v1/messages", json=body | {"content": "Bye"}, headers=headers)

    assert (of_job.status_code, first.status_code, again.status_code) == (201, 201, 200)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert other.status_code == 422


async def test_the_sender_s_jobs_wait_in_no_other_queue(front: Front) -> None:
    payload = {"phone_number": NUMBER, "content": "Hello"}
    job_ = {"type": "send_message", "payload": payload}

    refused = await front.client.post("/v1/jobs", json=job_)
    too_long = await front.client.post(
        "/v1/jobs", json=job_ | {"queue": "messages", "payload": payload | {"content": "x" * 161}}
    )
    subscribed = await front.client.post(
        "/v1/subscriptions", json={"name": "all", "event_type": "*", "job": job_}
    )
    taken = await front.client.post("/v1/jobs", json=job_ | {"queue": "messages"})

    assert (refused.status_code, too_long.status_code) == (422, 422)
    assert refused.json()["errors"][0]["pointer"] == "/queue"
    assert too_long.json()["errors"][0]["pointer"] == "/payload/content"
    assert subscribed.json()["errors"][0]["pointer"] == "/job/queue"
    assert (await get(front, f"messages/{taken.json()['id']}"))["content"] == "Hello"


async def test_no_other_jobs_wait_in_the_sender_s_queue(front: Front) -> None:
    """One that takes long would hold the messages of all tenants up."""
    other = {"type": "noop", "queue": "messages"}
    asked = [
        ("jobs", other, "/queue"),
        ("jobs/batch", {"jobs": [{"type": "noop"}, other]}, "/jobs/1/queue"),
        ("subscriptions", {"name": "all", "event_type": "*", "job": other}, "/job/queue"),
        ("schedules", {"name": "all", "cron": "@daily", "job": other}, "/job/queue"),
    ]
    for path, body, pointer in asked:
        refused = await front.client.post(f"/v1/{path}", json=body)

        assert refused.status_code == 422
        (fault,) = refused.json()["errors"]
        assert fault["pointer"] == pointer
        assert "is for send_message jobs" in fault["detail"]


async def test_an_event_may_become_a_message(front: Front) -> None:
    await front.client.post(
        "/v1/subscriptions",
        json={
            "name": "shipped",
            "event_type": "order.shipped",
            "job": {
                "type": "send_message",
                "queue": "messages",
                "payload": {"phone_number": {"$": "payload.phone"}, "content": "On its way"},
            },
        },
    )
    for phone in (NUMBER, None):
        await front.client.post(
            "/v1/events", json={"type": "order.shipped", "payload": {"phone": phone}}
        )

    (made,) = (await get(front, "messages"))["data"]
    assert (made["phone_number"], made["content"]) == (NUMBER, "On its way")


async def test_a_sent_message_keeps_what_the_receiver_said(front: Front, database_url: str) -> None:
    made = await post(front)

    async with at_work(
        database_url, front, lambda _p, _c: {"webhook_message_id": "m-1", "http_status": 202}
    ) as (_, crew):
        await crew.ended(job_id(made))

    sent = await get(front, f"messages/{made['id']}")
    assert (sent["status"], sent["attempts"], sent["webhook_message_id"]) == ("sent", 1, "m-1")
    assert sent["sent_at"] == (await get(front, f"jobs/{made['id']}"))["finished_at"]
    assert (await get(front, "messages/sent"))["data"] == [sent]
    stats = await get(front, "messages/stats")
    assert (stats["total"], stats["by_status"]["sent"]) == (1, 1)


async def test_trouble_shows_while_a_message_waits_and_after_it_failed(
    front: Front, database_url: str
) -> None:
    def run(payload: dict[str, Any], context: Context) -> object:
        if payload["content"] == "bad":
            raise Fail("rejected: the receiver answered 400 Bad Request")
        if context.attempt == 1:
            raise Retry("rate_limited: the receiver answered 429", after_s=3600)
        raise Retry("timeout: no answer within 5 s")

    bad, slow = await post(front, "bad"), await post(front, "slow")
    async with at_work(database_url, front, run) as (shop, crew):
        await crew.ended(job_id(bad))
        await crew.facts.seen(Settled, jobs=job_id(slow), timeout_s=PATIENCE_S)
        waiting = await get(front, f"messages/{slow['id']}")
        assert (waiting["status"], waiting["error_code"]) == ("pending", "rate_limited")
        assert (await get(front, "scheduler/status"))["last_error"] == waiting["last_error"]
        await shop.rows(
            "UPDATE signalstack.jobs SET run_at = now(), max_attempts = 2 WHERE id = %s",
            slow["id"],
        )
        await shop.rows("SELECT pg_notify('signalstack_later', 'messages')")
        await crew.ended(job_id(slow))

    failed = await get(front, f"messages/{slow['id']}")
    assert (failed["status"], failed["attempts"], failed["error_code"]) == ("failed", 2, "timeout")
    assert failed["last_error"] == "timeout: no answer within 5 s"
    stats = await get(front, "messages/stats")
    assert stats["by_status"] == {"pending": 0, "sent": 0, "failed": 2, "cancelled": 0}
    assert stats["by_error_code"]["rejected"] == stats["by_error_code"]["timeout"] == 1


async def test_a_message_follows_its_job_whatever_is_done_to_it(front: Front) -> None:
    made = await post(front)
    path = f"jobs/{made['id']}"

    amended = await front.client.patch(
        f"/v1/{path}", json={"payload": {"phone_number": OTHER_NUMBER, "content": "Changed"}}
    )
    seen = await get(front, f"messages/{made['id']}")
    found = [
        [each["id"] for each in (await get(front, f"messages?phone_number={quote(to)}"))["data"]]
        for to in (NUMBER, OTHER_NUMBER)
    ]
    await front.client.post(f"/v1/{path}/cancel")
    cancelled = await get(front, f"messages/{made['id']}")
    counted = (await get(front, "messages/stats"))["by_status"]
    await front.client.post(f"/v1/{path}/retry")
    again = await get(front, f"messages/{made['id']}")
    await front.client.post(f"/v1/{path}/cancel")
    await front.client.delete(f"/v1/{path}")
    kept = await get(front, f"messages/{made['id']}")

    assert amended.status_code == 200
    assert found == [[], [made["id"]]]
    assert [seen["content"], cancelled["content"]] == ["Changed", "Changed"]
    assert [m["status"] for m in (seen, cancelled, again, kept)] == [
        "pending",
        "cancelled",
        "pending",
        "cancelled",
    ]
    assert counted == {"pending": 0, "sent": 0, "failed": 0, "cancelled": 1}
    assert (await get(front, "messages/stats"))["total"] == 1


async def test_the_triggers_keep_to_the_table_of_states(front: Front, database_url: str) -> None:
    made = await post(front)
    async with connect(database_url) as db:
        for ended in sorted(job.TERMINAL):
            await db.execute("DELETE FROM signalstack.finished_jobs")
            await db.execute("UPDATE signalstack.messages SET status = 'pending'")
            await db.execute(
                "INSERT INTO signalstack.finished_jobs (user_id, id, type, queue, priority, status,"
                " attempt, max_attempts, run_at, created_at, updated_at, finished_at, payload)"
                " SELECT user_id, id, type, queue, priority, %s, 1, 1, now(), now(), now(), now(),"
                " payload FROM signalstack.jobs",
                (ended.value,),
            )
            ((status,),) = await rows(db, "SELECT status FROM signalstack.messages")
            assert status == OF_JOB[ended]
    assert made["status"] == OF_JOB[job.Status.PENDING]


async def test_lists_go_from_page_to_page(front: Front) -> None:
    other = "+905552222222"
    made = [await post(front, f"{n}", phone_number=(NUMBER, other)[n % 2]) for n in range(5)]
    await front.client.post(f"/v1/jobs/{made[0]['id']}/cancel")

    async def walk(query: str) -> list[str]:
        found: list[str] = []
        cursor = "limit=2"
        while True:
            page = await get(front, f"messages?{query}{cursor}")
            found += [message["content"] for message in page["data"]]
            if page["next_cursor"] is None:
                return found
            cursor = f"limit=2&cursor={page['next_cursor']}"

    encoded = NUMBER.replace("+", "%2B")
    assert await walk("") == ["4", "3", "2", "1", "0"]
    assert await walk("status=pending&") == ["4", "3", "2", "1"]
    assert await walk(f"phone_number={encoded}&") == ["4", "2", "0"]
    assert await walk(f"phone_number={encoded}&status=cancelled&") == ["0"]
    assert await walk("created_after=2999-01-01T00:00:00Z&") == []
    assert await walk("created_before=2999-01-01T00:00:00Z&") == ["4", "3", "2", "1", "0"]
    at = made[2]["created_at"]
    for narrow in ("", f"phone_number={encoded}&", "status=pending&"):
        assert "2" in await walk(f"{narrow}created_after={at}&")
        assert "2" not in await walk(f"{narrow}created_before={at}&")


async def test_lists_refuse_what_they_cannot_read(front: Front) -> None:
    page = await get(front, "messages?limit=1")
    await post(front)
    await post(front)
    cursor = (await get(front, "messages?limit=1"))["next_cursor"]

    for query in ("status=sending", "limit=201", "phone_number=5", "cursor=x", "nonsense=1"):
        assert (await front.client.get(f"/v1/messages?{query}")).status_code == 400, query
    for path in (f"messages/sent?cursor={cursor}", f"messages?status=failed&cursor={cursor}"):
        assert (await front.client.get(f"/v1/{path}")).status_code == 400
    assert (await front.client.get("/v1/messages/none")).status_code == 404
    assert page["data"] == []


async def test_tenants_see_and_count_their_own_alone(front: Front) -> None:
    made = await post(front)

    assert (await front.stranger.get(f"/v1/messages/{made['id']}")).status_code == 404
    assert (await front.stranger.get("/v1/messages")).json()["data"] == []
    assert (await front.stranger.get("/v1/messages/stats")).json()["total"] == 0
    assert (await front.anonymous.get("/v1/messages")).status_code == 401


async def test_scopes_part_looking_from_sending(front: Front) -> None:
    key = await make_key(front.pool, "acme", Scope.READ)
    async with client_of(front.app, key) as reader:
        looked = [await reader.get(f"/v1/{path}") for path in ("messages", "scheduler/status")]
        did = [
            await reader.post(f"/v1/{path}", json=body)
            for path, body in (
                ("messages", {"phone_number": NUMBER, "content": "Hello"}),
                ("scheduler/stop", None),
                ("scheduler/start", None),
            )
        ]

    assert [answer.status_code for answer in looked] == [200, 200]
    assert [answer.status_code for answer in did] == [403, 403, 403]


async def test_stopping_holds_the_tenant_s_messages_until_it_starts_again(
    front: Front, database_url: str
) -> None:
    before = await get(front, "scheduler/status")
    stopped = (await front.client.post("/v1/scheduler/stop")).json()
    made = await post(front)
    theirs = (
        await front.stranger.post("/v1/messages", json={"phone_number": NUMBER, "content": "Hello"})
    ).json()

    async with at_work(database_url, front, lambda _p, _c: {"webhook_message_id": "m-1"}) as (
        _,
        crew,
    ):
        await crew.ended(job_id(theirs))
        held = await get(front, f"messages/{made['id']}")
        started = (await front.client.post("/v1/scheduler/start")).json()
        await crew.ended(job_id(made))

    after = await get(front, "scheduler/status")
    assert held["status"] == "pending"
    assert [s["running"] for s in (before, stopped, started, after)] == [True, False, True, True]
    assert stopped["next_batch_at"] is None
    assert before["since"] < stopped["since"] < started["since"] == after["since"]
    assert before["pace"] == {"batch_size": 2, "interval_s": 120.0, "workers": 5}
    assert after["pace"] == {"batch_size": 1000, "interval_s": 1.0, "workers": 50}
    assert after["totals"] == {"pending": 0, "sent": 1, "failed": 0, "cancelled": 0}
    assert (await get(front, "queues/messages"))["paused"] is False


async def test_sums_stay_the_same_when_they_are_rolled_up(front: Front) -> None:
    made = [await post(front, f"{n}") for n in range(3)]
    await front.client.post(f"/v1/jobs/{made[0]['id']}/cancel")
    before = await get(front, "messages/stats")

    async with front.pool.connection() as conn:
        counts = [await table.roll_up(conn, limit=4) for _ in range(3)]

    assert counts == [4, 1, 0]
    assert await get(front, "messages/stats") == before
    assert before["by_status"] == {"pending": 2, "sent": 0, "failed": 0, "cancelled": 1}


def job_id(message: dict[str, Any]) -> UUID:
    return UUID(message["id"])
