"""Redis beside real processes: what the worker sent is read from it, and nobody needs it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
import psycopg
import pytest

from front import make_key
from processes import start
from receiver import receiver, reply
from redis_server import RedisServer, redis_server
from signalstack.core.key import Scope
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

pytestmark = pytest.mark.slow

PATIENCE_S: Final = 30  # a Redis that failed is left alone for five seconds
BODY: Final = {"phone_number": "+905551111111", "content": "Hello"}


class Service:
    """An API and a worker, each a process, with a Redis and a receiver that takes everything."""

    def __init__(self, client: httpx2.AsyncClient, redis: RedisServer, dsn: str) -> None:
        self.redis = redis
        self._client = client
        self._dsn = dsn

    async def send(self) -> str:
        """Have a message sent; returns its id once PostgreSQL has it as sent."""
        made = (await self._client.post("/v1/messages", json=BODY)).json()
        query = "SELECT FROM signalstack.messages WHERE id = %s AND status = 'sent'"
        await until(lambda: self.database(query, made["id"]))
        return made["id"]

    async def get(self, message_id: str) -> Any:
        answer = await self._client.get(f"/v1/messages/{message_id}")
        return answer.json() if answer.is_success else answer.status_code

    async def ready(self) -> tuple[int, str]:
        answer = await self._client.get("/ready")
        return answer.status_code, answer.json()["status"]

    async def forgets(self, message_id: str) -> None:
        """Take a message out of PostgreSQL: what is read of it then can only come from Redis."""
        query = "DELETE FROM signalstack.messages WHERE id = %s RETURNING 1"
        await self.database(query, message_id)

    async def database(self, query: str, *parameters: object) -> bool:
        """Tell whether a query finds anything."""
        conn = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        async with conn:
            cursor = await conn.execute(query.encode(), parameters)
            return bool(await cursor.fetchall())

    async def is_kept(self, message_id: str) -> bool:
        """Ask Redis itself, in its own protocol."""
        path = self.redis.url.removeprefix("unix://")
        async with await anyio.connect_unix(path) as stream:
            await stream.send(b"KEYS *" + message_id.encode() + b"\r\n")
            return not (await stream.receive()).startswith(b"*0")


@pytest.fixture
async def service(database_url: str) -> AsyncGenerator[Service]:
    async with (
        receiver() as here,
        redis_server() as redis,
        open_pool(database_url) as pool,
    ):
        here.usual = reply(202, body=b'{"messageId": "m-1"}')
        key = await make_key(pool, "acme", *Scope)
        settings = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis.url,
            "WEBHOOK_URL": here.url,
            "MESSAGE_BATCH_SIZE": "100",
            "MESSAGE_INTERVAL": "1s",
        }
        async with running(settings, key) as client:
            yield Service(client, redis, database_url)


@asynccontextmanager
async def running(settings: dict[str, str], key: str) -> AsyncGenerator[httpx2.AsyncClient]:
    async with start("api", **settings) as api, start("worker", **settings) as worker:
        base_url = await api.read(r"^API +(\S+)")
        await worker.read(r"^metrics +(\S+)")
        headers = {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=base_url, headers=headers) as client:
            yield client
        assert await worker.stop() == 0
        assert await api.stop() == 0


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a fact that nobody announces."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            if await holds():
                return
            await anyio.sleep(0.05)


async def test_what_was_sent_is_at_hand_and_a_redis_that_dies_is_missed_by_nobody(
    service: Service,
) -> None:
    third: list[str] = []

    async def is_ready_again() -> bool:
        return await service.ready() == (200, "ready")

    async def is_kept_again() -> bool:
        # The worker has a pause of its own to wait for: what it sent in it is left to readers.
        third.append(await service.send())
        return await service.is_kept(third[-1])

    first = await service.send()
    await until(lambda: service.is_kept(first))
    await service.forgets(first)
    kept = await service.get(first)
    before = await service.ready()

    await service.redis.kill()
    second = await service.send()
    without = await service.get(second)
    lost = await service.get(first)
    meanwhile = await service.ready()

    await service.redis.start()
    await until(is_ready_again)
    await until(is_kept_again)
    await service.forgets(third[-1])

    assert (kept["id"], kept["status"], kept["webhook_message_id"]) == (first, "sent", "m-1")
    assert kept["sent_at"] is not None
    assert (before, meanwhile) == ((200, "ready"), (200, "degraded"))
    assert (without["status"], lost) == ("sent", 404)
    assert (await service.get(third[-1]))["status"] == "sent"
