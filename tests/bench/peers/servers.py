"""Owns what the peers store in: one PostgreSQL with a database a peer, and one Redis."""
# pyright: reportUnknownMemberType=false
# The types of redis leave keyword arguments open.

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import anyio
import psycopg
import redis.asyncio

from bench.peers.install import InstallError
from bench.peers.process import process_cpu_s, running
from bench.peers.roster import Server
from bench.peers.tables import FIRST_ID, SEQUENCES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

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
    """A database of its own on the server that all share."""

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


async def make_database(dsn: str, name: str) -> str:
    """Make a database for a peer; returns its URL."""
    name = f"peer_{name}".replace("-", "_")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        await conn.execute(f"CREATE DATABASE {name}".encode())
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


@asynccontextmanager
async def run_redis(folder: Path) -> AsyncGenerator[str]:
    """Run a Redis with the durability it comes with: snapshots, no append-only file."""
    program = shutil.which("redis-server")
    if not program:
        raise InstallError("redis-server is missing: apt-get install redis-server")
    socket = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
    async with running(command, folder / "redis.log"):
        with anyio.fail_after(_REDIS_S):
            while not socket.exists():  # noqa: ASYNC110 - it is made by another process
                await anyio.sleep(_LOOK_S)
        yield f"unix://{socket}"


def url_of(peer: Peer, redis_url: str, number: int) -> str:
    """Tell the URL of a Redis database, with the kind of broker that reads it."""
    assert peer.server is Server.REDIS
    return f"{redis_url}?db={number}#{peer.broker}"
