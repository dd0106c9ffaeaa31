"""Sent messages kept in a real Redis: used where it is there, missed by nobody where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from boarding import ON_BOARD
from contexts import Witness
from front import Front, open_front
from redis_server import RedisServer, redis_server
from rows import connect
from signalstack.core.errors import SettingsError
from signalstack.core.stage import CacheAsked
from signalstack.store import cache as module
from signalstack.store.cache import MessageCache

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

BODY = {"phone_number": "+905551111111", "content": "Hello"}


class Desk:
    """An application with a cache on a Redis of its own, which can be killed."""

    def __init__(self, front: Front, witness: Witness, redis: RedisServer, dsn: str) -> None:
        self.front = front
        self._witness = witness
        self._redis = redis
        self._dsn = dsn

    @property
    def outcomes(self) -> list[str]:
        return [fact.outcome for fact in self._witness.facts if isinstance(fact, CacheAsked)]

    async def send(self) -> str:
        """Make a message and record it as sent, as a worker would."""
        made = (await self.front.client.post("/v1/messages", json=BODY)).json()
        await self.run(
            "INSERT INTO signalstack.finished_jobs (user_id, id, type, queue, priority, status,"
            " attempt, max_attempts, run_at, created_at, updated_at, finished_at, payload, result)"
            " SELECT user_id, id, type, queue, priority, 'succeeded', 1, 1, now(), now(), now(),"
            " now(), payload, jsonb_build_object('webhook_message_id', 'm-1')"
            " FROM signalstack.jobs; DELETE FROM signalstack.jobs"
        )
        return made["id"]

    async def run(self, query: str) -> None:
        async with connect(self._dsn) as db:
            await db.execute(query.encode())

    async def get(self, message_id: str) -> dict[str, Any]:
        answer = await self.front.client.get(f"/v1/messages/{message_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ready(self) -> tuple[int, str, dict[str, Any]]:
        answer = await self.front.anonymous.get("/ready")
        return answer.status_code, answer.json()["status"], answer.json()["parts"]["redis"]

    async def kill(self) -> None:
        await self._redis.kill()


@pytest.fixture
async def desk(database_url: str) -> AsyncGenerator[Desk]:
    witness = Witness()
    async with (
        redis_server() as redis,
        MessageCache(redis.url, witness) as cache,
        open_front(database_url, job_types=ON_BOARD, message_cache=cache) as front,
    ):
        yield Desk(front, witness, redis, database_url)


async def test_a_sent_message_is_read_from_redis_by_its_tenant_alone(desk: Desk) -> None:
    message_id = await desk.send()
    first = await desk.get(message_id)
    await desk.run("DELETE FROM signalstack.messages")

    again = await desk.get(message_id)
    foreign = await desk.front.stranger.get(f"/v1/messages/{message_id}")

    assert first["status"] == "sent"
    assert again == first
    assert foreign.status_code == 404
    assert desk.outcomes == ["miss", "hit", "miss"]
    assert await desk.ready() == (200, "ready", {"ready": True, "reason": None})


async def test_what_may_still_change_is_not_kept(desk: Desk) -> None:
    made = (await desk.front.client.post("/v1/messages", json=BODY)).json()

    await desk.get(made["id"])
    await desk.get(made["id"])

    assert desk.outcomes == ["miss", "miss"]


async def test_everything_goes_on_when_redis_dies(desk: Desk) -> None:
    message_id = await desk.send()
    before = await desk.get(message_id)
    await desk.kill()

    began = anyio.current_time()
    after = [await desk.get(message_id) for _ in range(10)]
    took_s = anyio.current_time() - began
    status, word, part = await desk.ready()

    assert after == [before] * 10
    assert desk.outcomes == ["miss"] + ["error"] * 10
    assert (status, word, part["ready"]) == (200, "degraded", False)
    assert "Redis" in part["reason"]
    # One waits for Redis at most once, and then leaves it alone.
    assert took_s < module.PAUSE_S


async def test_a_redis_that_says_nothing_costs_its_deadline_once() -> None:
    witness = Witness()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as silent:
        port = silent.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's
        async with MessageCache(f"redis://127.0.0.1:{port}", witness) as cache:
            reasons = [await cache.check() for _ in range(3)]

    assert len(set(reasons)) == 1
    assert reasons[0] is not None


@pytest.mark.parametrize("url", ["redis://127.0.0.1:port", "redis://:port/al@127.0.0.1:6379"])
def test_a_url_that_cannot_be_read_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL cannot be used: it must be like") as refused:
        MessageCache(url, Witness())

    assert "'port'" not in str(refused.value)
