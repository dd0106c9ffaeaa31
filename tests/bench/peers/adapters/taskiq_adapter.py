"""TaskIQ on Redis, by the broker that acknowledges (a stream) or the one that does not (a list).

A job of the list is lost with the worker that took it. https://github.com/taskiq-python/taskiq-redis
Nobody reads results, so none are kept; arguments are not parsed again (--no-parse).
https://taskiq-python.github.io/guide/cli.html
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import serve
from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker, RedisStreamBroker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from taskiq import AsyncBroker


def _broker(config: serve.Config, stamp: Callable[[int], None]) -> AsyncBroker:
    url, _, kind = config.url.partition("#")
    # No read timeout (5 s in redis-py 8): it loses what a paused worker has popped.
    pool = {"max_connection_pool_size": 64, "socket_timeout": None}
    broker = ListQueueBroker(url, **pool) if kind == "list" else RedisStreamBroker(url, **pool)

    @broker.task(task_name="stamp")
    async def run(slot: int) -> None:
        stamp(slot)

    return broker


class _Client:
    def __init__(self, broker: AsyncBroker) -> None:
        self._task = broker.find_task("stamp")

    async def one(self, slot: int) -> object:
        return await self._task.kiq(slot)

    async def many(self, slots: Sequence[int]) -> None:
        for slot in slots:  # there is no call for many
            await self._task.kiq(slot)


@asynccontextmanager
async def _open(config: serve.Config) -> AsyncGenerator[_Client]:
    broker = _broker(config, lambda _: None)
    await broker.startup()
    yield _Client(broker)
    await broker.shutdown()


async def _work(config: serve.Config, stamp: Callable[[int], None]) -> None:
    broker = _broker(config, stamp)
    broker.is_worker_process = True
    await broker.startup()
    serve.say({"ready": True})
    await run_receiver_task(broker, validate_params=False, max_async_tasks=100)


serve.main(_open, _work)
