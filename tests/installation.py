"""A whole installation of real processes: PostgreSQL, an API and workers, and work for them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import msgspec

from front import make_key
from processes import Running, start
from signalstack.core.key import Scope
from signalstack.store import embedded, migrate
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_SETTINGS: Final = {
    "SIGNALSTACK_HANDLERS": "handlers_for_tests:HANDLERS",
    "PYTHONPATH": str(Path(__file__).parent / "e2e"),
    "WEBHOOK_ALLOW_PRIVATE": "on",
    "LEASE_SECONDS": "3",
    "DB_CONNECT_DELAY": "200ms",
    "RETRY_BASE_DELAY": "50ms",
}


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One request that is made again and again."""

    path: str
    body: object = None
    every_s: float
    method: str = "POST"


class Worker:
    """A worker process, and where its metrics are."""

    def __init__(self, process: Running, target: str) -> None:
        self.process = process
        self.target = target


class Installation:
    """What runs: a server that can be stopped, and an API that a client of one tenant uses."""

    def __init__(self, folder: Path, server: embedded.Server) -> None:
        self._folder = folder
        self._server = server
        self.dsn = server.facts.dsn
        self.api_target: str
        self.client: httpx2.AsyncClient

    @asynccontextmanager
    async def worker(self, **settings: str) -> AsyncGenerator[Worker]:
        """Run a worker process; killed at the end, if it is still there."""
        given = {"DATABASE_URL": self.dsn, **_SETTINGS, **settings}
        async with start("worker", **given) as process:
            yield Worker(process, await read_target(process))

    @asynccontextmanager
    async def load(self, *works: Work) -> AsyncGenerator[None]:
        """Make these requests until the block ends; a 503 is taken calmly."""
        async with anyio.create_task_group() as tasks:
            for work in works:
                tasks.start_soon(self._repeat, work)
            yield
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def without_postgresql(self) -> AsyncGenerator[None]:
        """Stop PostgreSQL, and start it again at the end."""
        await anyio.to_thread.run_sync(self._server.stop)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                begin = partial(embedded.start, self._folder, durable=False)
                self._server = await anyio.to_thread.run_sync(begin)

    async def close(self) -> None:
        """Stop PostgreSQL for good."""
        await anyio.to_thread.run_sync(self._server.stop)

    async def _repeat(self, work: Work) -> None:
        while True:
            answer = await self.client.request(work.method, work.path, json=work.body)
            assert answer.status_code in {200, 201, 503}, answer.text
            await anyio.sleep(work.every_s)


@asynccontextmanager
async def install(folder: Path, **settings: str) -> AsyncGenerator[Installation]:
    """Run PostgreSQL in `folder` and an API with a tenant's key."""
    server = await anyio.to_thread.run_sync(partial(embedded.start, folder, durable=False))
    here = Installation(folder, server)
    try:
        await migrate.up(here.dsn)
        async with open_pool(here.dsn) as pool:
            key = await make_key(pool, "acme", *Scope)
        async with start("api", DATABASE_URL=here.dsn, **{**_SETTINGS, **settings}) as api:
            base_url = await api.read(r"^API +(\S+)")
            here.api_target = await read_target(api)
            headers = {"authorization": f"Bearer {key}"}
            async with httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=20) as client:
                here.client = client
                yield here
    finally:
        with anyio.CancelScope(shield=True):
            await here.close()


async def read_target(process: Running) -> str:
    """Read the address of a process's metrics, as Prometheus wants it."""
    return urlsplit(await process.read(r"^metrics +(\S+)")).netloc
