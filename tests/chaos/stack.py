"""The system under chaos: PostgreSQL, an API and workers as real processes behind proxies.

A process that ends is started again at once, as a supervisor does in production.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import psycopg
from psycopg.rows import DictRow, dict_row

from chaos.handlers import LEDGER
from chaos.proxy import Proxy, socket_of
from front import make_key
from processes import start
from signalstack.core.key import Scope
from signalstack.store import embedded, migrate
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from processes import Running
    from signalstack.store.embedded import Server

LEASE_S: Final = 3
POLL_S: Final = 1.0
WATCHDOG_S: Final = 6.0
TENANTS: Final = ("acme", "zeta")
_READY_S: Final = 30.0
_SETTINGS: Final = {
    "SIGNALSTACK_HANDLERS": "chaos.handlers:HANDLERS",
    "PYTHONPATH": str(Path(__file__).parents[1]),
    "LEASE_SECONDS": str(LEASE_S),
    "POLL_INTERVAL": f"{POLL_S:g}s",
    "DB_CONNECT_RETRIES": "1000",
    "DB_CONNECT_DELAY": "200ms",
    "RETRY_BASE_DELAY": "100ms",
    "RETRY_MAX_DELAY": "1s",
    "SHUTDOWN_TIMEOUT": "3s",
    "JOB_TIMEOUT": "10s",
    "WATCHDOG_TIMEOUT": f"{WATCHDOG_S:g}s",
    "LOG_LEVEL": "warning",
    "WEBHOOK_ALLOW_PRIVATE": "on",
}


class Member:
    """One process of the system, its way to the database, and how often it was started."""

    def __init__(self, name: str, command: str, settings: dict[str, str]) -> None:
        self.name = name
        self.command = command
        self.settings = settings
        self.prefix: tuple[str, ...] = ()
        """What starts its program, as `ip netns exec NAME`."""
        self.running: Running | None = None
        self.starts = 0
        self.log: list[str] = []

    @property
    def pid(self) -> int:
        """The process id; 0 while there is none."""
        return 0 if self.running is None else self.running.pid

    def said(self) -> str:
        """What all its lives had to say, oldest first."""
        now = "" if self.running is None else self.running.errors
        return "\n--- started again ---\n".join([*self.log, now])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is anybody to get it."""
        if self.running is not None and self.running.process.returncode is None:
            self.running.process.send_signal(number)

    async def keep(self) -> None:
        """Run it, again and again, until cancelled."""
        while True:
            async with start(self.command, prefix=self.prefix, **self.settings) as running:
                self.running = running
                self.starts += 1
                try:
                    await running.process.wait()
                finally:
                    self.log.append(running.errors[-20_000:])


class Stack:
    """Everything that runs, and the means to harm it."""

    def __init__(self, folder: Path, dsn: str, server: Server | None) -> None:
        self.folder = folder
        self.ledger = folder / "ledger.jsonl"
        self._server = server
        self.dsn = dsn
        self.port = _free_port()
        self.bases = [f"http://127.0.0.1:{self.port}"]
        """Where the APIs are; callers take them in turns."""
        self._turn = count()
        self.keys: dict[str, str] = {}
        self.proxies: dict[str, Proxy] = {}
        self.apis = [Member("api", "api", {})]
        self.workers: list[Member] = []
        self.opened = AsyncExitStack()
        """What ends with the stack."""
        self.crashes: list[tuple[float, float]] = []
        """When PostgreSQL was down: claims of just before may have been undone."""

    @property
    def server(self) -> Server:
        """The PostgreSQL that is ours to harm."""
        assert self._server is not None, "the stack was given a database of others"
        return self._server

    @property
    def api(self) -> Member:
        """The API, or the first of several."""
        return self.apis[0]

    @property
    def members(self) -> list[Member]:
        """All processes of ours."""
        return [*self.apis, *self.workers]

    @property
    def postgres_has_ended(self) -> bool:
        """Whether PostgreSQL has ended by itself."""
        return not Path(f"/proc/{self.server.facts.pid}").exists()

    async def rows(self, query: str, *parameters: Any) -> list[DictRow]:
        """Ask the database directly."""
        async with await psycopg.AsyncConnection[DictRow].connect(
            self.dsn, autocommit=True, row_factory=dict_row
        ) as conn:
            cursor = await conn.execute(query.encode(), parameters)
            return await cursor.fetchall() if cursor.description else []

    def client(self, tenant: str, *, timeout_s: float = 8.0) -> httpx2.AsyncClient:
        """Make a client that speaks to the API whose turn it is with a tenant's key."""
        headers = {"authorization": f"Bearer {self.keys[tenant]}"}
        base = self.bases[next(self._turn) % len(self.bases)]
        return httpx2.AsyncClient(base_url=base, headers=headers, timeout=timeout_s)

    async def until_ready(self) -> None:
        """Wait until every API says that it and what it needs are there."""
        with anyio.fail_after(_READY_S):
            for _ in self.bases:
                async with self.client(TENANTS[0]) as client:
                    while not await _is_ready(client):  # noqa: ASYNC110 - others work
                        await anyio.sleep(0.05)

    async def stop_postgres(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End PostgreSQL: SIGQUIT is a crash, SIGINT an orderly end that cuts connections."""
        at = anyio.current_time()
        os.kill(self.server.facts.pid, number)
        await anyio.to_thread.run_sync(self.server.stop)
        self.crashes.append((at, float("inf")))

    async def start_postgres(self) -> None:
        """Start it again on the same data."""
        data_dir = self.server.facts.data_dir
        self._server = await anyio.to_thread.run_sync(partial(embedded.start, data_dir))
        self.crashes[-1] = (self.crashes[-1][0], anyio.current_time())


@asynccontextmanager
async def open_stack(
    folder: Path,
    *,
    dsn: str | None = None,
    workers: int = 2,
    arrange: Callable[[Stack], Awaitable[None]] | None = None,
) -> AsyncGenerator[Stack]:
    """Start everything in `folder`, which PostgreSQL's account can reach, and end it afterwards.

    `dsn` is a migrated database to use instead of a PostgreSQL of its own. `arrange` may change how
    the members are started before they are.
    """
    async with _database(folder, dsn) as stack, stack.opened:
        names = ["api", *(f"worker-{n}" for n in range(1, workers + 1))]
        for name in names:
            stack.proxies[name] = Proxy(socket_of(stack.dsn))
            await stack.opened.enter_async_context(stack.proxies[name].run())
        ways = {name: _way(stack, name) for name in names}
        stack.api.settings = settings(stack, ways["api"]) | {"PORT": str(stack.port)}
        stack.workers = [
            Member(name, "worker", settings(stack, ways[name])) for name in names if name != "api"
        ]
        if arrange is not None:
            await arrange(stack)
        async with running(stack):
            yield stack


@asynccontextmanager
async def running(stack: Stack) -> AsyncGenerator[None]:
    """Give the tenants their keys, start all members, and kill them afterwards."""
    async with open_pool(stack.dsn) as pool:
        stack.keys = {tenant: await make_key(pool, tenant, *Scope) for tenant in TENANTS}
    async with anyio.create_task_group() as tasks:
        for member in stack.members:
            tasks.start_soon(member.keep)
        await stack.until_ready()
        yield
        tasks.cancel_scope.cancel()


def settings(stack: Stack, dsn: str) -> dict[str, str]:
    """Give what every member is told, and its way to the database."""
    return {**_SETTINGS, "DATABASE_URL": dsn, LEDGER: str(stack.ledger)}


@asynccontextmanager
async def _database(folder: Path, dsn: str | None) -> AsyncGenerator[Stack]:
    if dsn is not None:
        yield Stack(folder, dsn, None)
        return
    server = await anyio.to_thread.run_sync(partial(embedded.start, folder / "data"))
    stack = Stack(folder, server.facts.dsn, server)
    try:
        await migrate.up(stack.dsn)
        yield stack
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(stack.server.stop)
        shutil.rmtree(folder / "data", ignore_errors=True)


def _way(stack: Stack, name: str) -> str:
    at = urlsplit(stack.dsn)
    return f"postgresql://{at.username}@127.0.0.1:{stack.proxies[name].port}{at.path}"


async def _is_ready(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/ready")).is_success
    except httpx2.HTTPError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
