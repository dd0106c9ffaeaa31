"""The automatic message sender, by real processes and a receiver: once each, in order, paced."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import anyio
import h11
import httpx2
import msgspec
import pytest

from front import make_key
from processes import Running, start
from receiver import Exchange, Received, Receiver, receiver
from signalstack.core.key import Scope
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.slow

NUMBER: Final = "+905551111111"
PATIENCE_S: Final = 20


class Post:
    """A receiver that takes every message, remembers when, and counts those it has at once."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.contents: list[str] = []
        self.keys: Counter[str] = Counter()
        self.now = 0
        self.most = 0
        self._ids = count(1)

    def take(self, request: Received) -> None:
        self.times.append(anyio.current_time())
        self.contents.append(msgspec.json.decode(request.body)["content"])
        self.keys[request.headers["idempotency-key"]] += 1

    async def answer(self, exchange: Exchange) -> None:
        """Say the id of a message after a moment, as a receiver far away would."""
        self.now += 1
        self.most = max(self.most, self.now)
        await anyio.sleep(0.02)
        body = msgspec.json.encode({"message": "Accepted", "messageId": f"m-{next(self._ids)}"})
        self.now -= 1
        head = h11.Response(status_code=202, headers=[("content-length", str(len(body)))])
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            await exchange.send(event)


class Service:
    """An API process, two workers, and the receiver that they send to."""

    def __init__(self, client: httpx2.AsyncClient, here: Receiver, post: Post) -> None:
        self.client = client
        self.here = here
        self.post = post

    async def create(self, messages: int) -> list[str]:
        """Ask for messages one after another, so that their order is known."""
        ids: list[str] = []
        for n in range(messages):
            body = {"phone_number": NUMBER, "content": f"{n:04}"}
            answer = await self.client.post("/v1/messages", json=body)
            assert answer.status_code == 201, answer.text
            ids.append(answer.json()["id"])
        return ids

    async def turn(self, to: str) -> dict[str, Any]:
        answer = await self.client.post(f"/v1/scheduler/{to}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until_sent(self, messages: int) -> dict[str, Any]:
        """Wait until so many are recorded as sent; the receiver has heard of them before."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                stats = (await self.client.get("/v1/messages/stats")).json()
                if stats["by_status"]["sent"] >= messages:
                    return stats
                await anyio.sleep(0.05)


@asynccontextmanager
async def service(
    dsn: str, *, batch: int, interval: str, workers: int = 5
) -> AsyncGenerator[Service]:
    post = Post()
    async with receiver(*[post.answer] * 1_000) as here, open_pool(dsn) as pool:
        key = await make_key(pool, "acme", *Scope)
        settings = {
            "DATABASE_URL": dsn,
            "WEBHOOK_URL": here.url,
            "MESSAGE_BATCH_SIZE": str(batch),
            "MESSAGE_INTERVAL": interval,
            "MESSAGE_WORKERS": str(workers),
        }
        note = here.record

        def record(request: Received) -> Any:
            post.take(request)
            return note(request)

        here.record = record  # type: ignore[method-assign] - when it came is what is looked at
        async with (
            start("api", **settings) as api,
            start("worker", **settings) as one,
            start("worker", **settings) as two,
        ):
            base_url = await api.read(r"^API +(\S+)")
            for process in (one, two):
                await process.read(r"^metrics +(\S+)")
            async with httpx2.AsyncClient(
                base_url=base_url, headers={"authorization": f"Bearer {key}"}, timeout=30
            ) as client:
                yield Service(client, here, post)
                await _stop(one, two, api)


async def test_messages_leave_once_in_order_at_the_pace_and_stop_at_once(
    database_url: str,
) -> None:
    async with service(database_url, batch=2, interval="200ms") as s:
        stopped = await s.turn("stop")
        await s.create(40)
        assert s.here.requests == []
        await s.turn("start")
        await s.here.wait_for(20, timeout_s=PATIENCE_S)
        await s.turn("stop")
        heard = len(s.here.requests)
        # Those that were claimed before may still be on their way; longer than two at a time need.
        await anyio.sleep(0.5)
        held = len(s.here.requests)
        await s.turn("start")
        await s.here.wait_for(40, timeout_s=PATIENCE_S)
        stats = await s.until_sent(40)
        status = (await s.client.get("/v1/scheduler/status")).json()
        sent = (await s.client.get("/v1/messages/sent?limit=1")).json()["data"][0]

    assert stopped["running"] is False
    assert held - heard <= 5
    assert len(s.post.keys) == 40
    assert set(s.post.keys.values()) == {1}
    assert _disorder(s.post.contents) <= 5
    assert s.post.most <= 5
    assert stats["by_status"] == {"pending": 0, "sent": 40, "failed": 0, "cancelled": 0}
    assert status["totals"]["sent"] == 40
    assert (sent["content"], sent["attempts"]) == ("0039", 1)
    assert sent["webhook_message_id"].startswith("m-")


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_two_hundred_messages_leave_within_a_minute_and_no_sooner(
    database_url: str,
) -> None:
    async with service(database_url, batch=10, interval="3s") as s:
        await s.turn("stop")
        await s.create(220)
        await s.turn("start")
        await s.here.wait_for(200, timeout_s=90)
        await s.turn("stop")
        stopped_at = anyio.current_time()
        await anyio.sleep(2)
        status = (await s.client.get("/v1/scheduler/status")).json()

    times = s.post.times
    minute = sum(1 for at in times if at < times[0] + 60)
    gap_s = (times[199] - times[9]) / 190
    print(  # noqa: T201 - figures for the one who runs it by hand
        f"\n{len(times)} messages; in the first minute {minute}; "
        f"200 after {times[199] - times[0]:.2f} s; one every {gap_s * 1000:.1f} ms; "
        f"at most {s.post.most} at once; out of order by {_disorder(s.post.contents)}; "
        f"last one {times[-1] - stopped_at:+.3f} s after the stop"
    )
    # 10 at once, then one every 300 ms.
    assert gap_s == pytest.approx(0.3, rel=0.05)
    assert minute == pytest.approx(200 + 10, rel=0.05)
    assert set(s.post.keys.values()) == {1}
    assert s.post.most <= 5
    assert _disorder(s.post.contents) <= 5
    assert times[-1] - stopped_at < 0.1
    assert status["running"] is False


def _disorder(contents: list[str]) -> int:
    """Tell by how many places a message came too late or too soon, at most."""
    places = [int(content) for content in contents]
    return max(abs(place - n) for n, place in enumerate(places))


async def _stop(*processes: Running) -> None:
    for process in processes:
        assert await process.stop() == 0
