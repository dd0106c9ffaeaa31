"""Owns what the peers store in: a PostgreSQL or a Redis of its own for each."""
# pyright: reportUnknownMemberType=false
# The types of redis leave keyword arguments open.

from __future__ import annotations

import os
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
import psycopg
import redis.asyncio

from bench.peers.install import InstallError
from bench.peers.process import process_cpu_s, running
from bench.peers.roster import Server
from bench.peers.tables import FIRST_ID, SEQUENCES
from signalstack.store import embedded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from bench.peers.roster import Peer
    from bench.peers.tables import Tables

_REDIS_S: Final = 10.0
_LOOK_S: Final = 0.02
_STREAM: Final = "taskiq"
_TRANSACTIONS: Final = b"""
    SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()
"""
_BACKENDS: Final = b"""
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid()
"""


class Store(ABC):
    """Where one peer keeps its jobs, as the harness sees it."""

    @abstractmethod
    async def left(self) -> int:
        """Count the jobs that are due and not settled."""

    @abstractmethod
    async def clear(self) -> None:
        """Forget the jobs: all of them, or once it was grown all but that."""

    async def transactions(self) -> int:
        """Count the transactions there were in its database; 0 where there are none."""
        return 0

    @abstractmethod
    async def cpu_s(self) -> float:
        """Tell how many seconds of CPU the server's processes for its clients used so far."""

    @abstractmethod
    async def grow(self, rows: int) -> None:
        """Make a history and jobs of the future, of so many rows each."""


class PostgresStore(Store):
    """A database in PostgreSQL."""

    def __init__(self, peer: Peer, tables: Tables, conn: psycopg.AsyncConnection) -> None:
        self._sequence = SEQUENCES.get(peer.name)
        self._tables = tables
        self._conn = conn
        self._grown = False

    async def left(self) -> int:
        cursor = await self._conn.execute(self._tables.left.encode())
        row = await cursor.fetchone()
        return row[0] if row else 0

    async def clear(self) -> None:
        statement = self._tables.clear_due if self._grown else self._tables.clear
        await self._conn.execute(statement.encode())
        if self._sequence and not self._grown:
            await self._conn.execute(self._sequence.format(FIRST_ID).encode())
        # What autovacuum would do some time in the middle of the next measurement.
        await self._conn.execute("VACUUM ANALYZE")

    async def transactions(self) -> int:
        # Our own are told at once, so that a VACUUM of before does not count as of now.
        await self._conn.execute(b"SELECT pg_stat_force_next_flush()")
        cursor = await self._conn.execute(_TRANSACTIONS)
        row = await cursor.fetchone()
        return row[0] if row else 0

    async def cpu_s(self) -> float:
        return await backends_cpu_s(self._conn)

    async def grow(self, rows: int) -> None:
        self._grown = True
        for statement in self._tables.grow:
            await self._conn.execute(statement.encode(), {"rows": rows})
        await self._conn.execute("VACUUM ANALYZE")
        # Gigabytes that are still to be written would stall the commits that are measured next.
        await self._conn.execute("CHECKPOINT")


class RedisStore(Store):
    """A Redis database: the stream or the list that TaskIQ keeps."""

    def __init__(self, client: redis.asyncio.Redis, kind: str) -> None:
        self._client = client
        self._kind = kind

    async def left(self) -> int:
        if self._kind == "list":
            return await self._client.llen(_STREAM)
        groups = await self._client.xinfo_groups(_STREAM)
        return sum((group["lag"] or 0) + group["pending"] for group in groups)

    async def clear(self) -> None:
        await self._client.flushdb()

    async def cpu_s(self) -> float:
        used = await self._client.info("cpu")
        return used["used_cpu_user"] + used["used_cpu_sys"]

    async def grow(self, rows: int) -> None:
        raise NotImplementedError("TaskIQ's brokers keep neither a history nor jobs of the future")


async def backends_cpu_s(conn: psycopg.AsyncConnection) -> float:
    """Tell how many seconds of CPU the other clients' backends in this database used so far."""
    cursor = await conn.execute(_BACKENDS)
    total_s = 0.0
    for (pid,) in await cursor.fetchall():
        with suppress(FileNotFoundError):  # it ended just now
            total_s += process_cpu_s(pid)
    return total_s


@asynccontextmanager
async def open_store(peer: Peer, url: str) -> AsyncGenerator[Store]:
    """Connect to where a peer keeps its jobs."""
    if peer.tables is not None:
        conn = await psycopg.AsyncConnection.connect(url, autocommit=True)
        async with conn:
            yield PostgresStore(peer, peer.tables, conn)
    else:
        client = redis.asyncio.Redis.from_url(url.partition("#")[0])
        async with client:
            yield RedisStore(client, peer.broker)


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A running server of one peer's; `pause` stops all it does by itself, until `resume`."""

    url: str
    version: str
    pause: Callable[[], None]
    resume: Callable[[], None]


def run_server(peer: Peer, folder: Path) -> AbstractAsyncContextManager[Host]:
    """Run a server for a peer alone, its files in a folder that is made."""
    if peer.server is Server.REDIS:
        folder.mkdir()
        return _run_redis(folder, peer.broker)
    return _run_postgres(folder)


@asynccontextmanager
async def _run_postgres(folder: Path) -> AsyncGenerator[Host]:
    async with embedded.run(folder, durable=True) as server:
        yield Host(
            url=server.dsn,
            version=server.version,
            pause=partial(_signal_children, server.pid, signal.SIGSTOP),
            resume=partial(_signal_children, server.pid, signal.SIGCONT),
        )


def _signal_children(parent: int, number: signal.Signals) -> None:
    """Stop or continue all of PostgreSQL but its first process, which by itself only waits.

    That one hears that we are gone, however we ended, and then ends the others by force.
    """
    for child in _children(parent):
        with suppress(ProcessLookupError):
            os.kill(child, number)


def _children(parent: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
            # proc(5): the state and then the parent follow the name, which may hold anything.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(stat.parent.name)


@asynccontextmanager
async def _run_redis(folder: Path, broker: str) -> AsyncGenerator[Host]:
    """Run a Redis with the durability it comes with: snapshots, no append-only file."""
    program = shutil.which("redis-server")
    if not program:
        raise InstallError("redis-server is missing: apt-get install redis-server")
    socket = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
    async with running(command, folder / "redis.log") as server:
        with anyio.fail_after(_REDIS_S):
            while not socket.exists():  # noqa: ASYNC110 - it is made by another process
                await anyio.sleep(_LOOK_S)
        yield Host(
            # Behind the `#` the adapter reads which kind of broker it is to be.
            url=f"unix://{socket}#{broker}",
            version="",
            pause=server.pause,
            resume=server.resume,
        )
