"""Owns the real parts that tests share: one PostgreSQL a session, one database a test."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import anyio
import psycopg
import pytest
from psycopg import sql

from holding import Server
from signalstack.store import embedded, migrate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

_ROOM = 4 * 1024**3
# What a shell runs in the background ignores SIGINT, and so would the processes that we interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run async tests as the service runs: asyncio on uvloop (psycopg has no trio)."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Give the DSN of a server to make databases on: TEST_DATABASE_URL, else an embedded one."""
    given = os.environ.get("TEST_DATABASE_URL")  # noqa: TID251 - it is the tests' own setting
    if given:
        yield given
        return
    with _data_dir(_memory()) as folder:
        server = embedded.start(folder, durable=False)
        try:
            yield server.facts.dsn
        finally:
            server.stop()


@pytest.fixture(scope="session")
def template(postgres: str) -> Iterator[str]:
    """Give the name of a migrated database that nobody is connected to."""
    with _database(postgres) as dsn:
        anyio.run(migrate.up, dsn)
        yield urlsplit(dsn).path[1:]


@pytest.fixture
def database_url(postgres: str, template: str) -> Iterator[str]:
    """Give the DSN of a migrated database of this test's own."""
    with _database(postgres, template) as dsn:
        yield dsn


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """Give the DSN of a database of this test's own that holds nothing."""
    with _database(postgres) as dsn:
        yield dsn


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Give a path for an embedded PostgreSQL of this test's own; nothing is there yet."""
    with _data_dir() as folder:
        yield folder


@pytest.fixture
async def server(data_dir: Path) -> AsyncGenerator[Server]:
    """Give a PostgreSQL of this test's own whose durable commits can be held up."""
    async with embedded.run(data_dir) as running:
        await migrate.up(running.dsn)
        yield Server(running.dsn)


def _memory() -> str | None:
    """Give a folder in memory with room to spare: databases are made and dropped twice as fast."""
    shared = Path("/dev/shm")  # noqa: S108 - where Linux keeps it
    if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > _ROOM:
        return str(shared)
    return None


@contextmanager
def _data_dir(parent: str | None = None) -> Generator[Path]:
    """Make a folder where root's PostgreSQL can live too: pytest's tmp_path is closed to it."""
    with tempfile.TemporaryDirectory(prefix="signalstack-test-", dir=parent) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "data"


@contextmanager
def _database(server: str, template: str = "template1") -> Generator[str]:
    """Make a database from a template, give its DSN, and drop it even if somebody is connected."""
    name = f"signalstack_test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as conn:
        query = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        if conn.info.server_version >= 150_000:
            query += sql.SQL(" STRATEGY file_copy")
        conn.execute(query)
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            conn.execute(drop.format(sql.Identifier(name)))
