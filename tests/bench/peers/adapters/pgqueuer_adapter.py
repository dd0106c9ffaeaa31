"""PgQueuer on asyncpg: a connection for the worker, a pool for who creates, autovacuum as advised.

https://pgqueuer.readthedocs.io/en/latest/guides/performance-tuning/
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import serve
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.queries import Queries

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from pgqueuer.models import Job

_BATCH = {"latency": 10, "throughput": 500}  # 10 is its default; more for jobs that are short


class _Client:
    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def one(self, slot: int) -> object:
        return await self._queries.enqueue("stamp", str(slot).encode())

    async def many(self, slots: Sequence[int]) -> object:
        payloads = [str(slot).encode() for slot in slots]
        return await self._queries.enqueue(["stamp"] * len(slots), payloads, [0] * len(slots))


@asynccontextmanager
async def _open(config: serve.Config) -> AsyncGenerator[_Client]:
    async with asyncpg.create_pool(config.url, min_size=5, max_size=20) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        await queries.install()
        await queries.optimize_autovacuum()
        yield _Client(queries)


async def _work(config: serve.Config, stamp: Callable[[int], None]) -> None:
    queue = PgQueuer.from_asyncpg_connection(await asyncpg.connect(config.url))

    @queue.entrypoint("stamp")
    async def run(job: Job) -> None:
        stamp(int(job.payload or b""))

    serve.say({"ready": True})
    await queue.run(batch_size=_BATCH[config.mode])


serve.main(_open, _work)
