"""Owns the embedded PostgreSQL: made on first use, our direct child, gone when we are.

It listens on a unix socket in a private folder and on no port: whoever can open the socket could
read the data files as well, so there is no password. `psql "$(cat DATA_DIR/dsn)"` connects.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import anyio
import anyio.to_thread
import msgspec
import psycopg

from signalstack.core.errors import EmbeddedError
from signalstack.store import pgbinaries, pgfolder
from signalstack.store.pgbinaries import find_binaries
from signalstack.store.pgchild import Child

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from signalstack.store.pgbinaries import Account

__all__ = ["ROOTS_DATA_DIR", "Embedded", "Server", "find_binaries", "run", "start"]

# Root's home is closed to the user that PostgreSQL has to run as.
ROOTS_DATA_DIR: Final = Path("/var/lib/signalstack")

_NAME: Final = "signalstack"  # of the role and of the database
_START_DEADLINE_S: Final = 60.0  # crash recovery may have to replay the log
_LOOK_S: Final = 0.01

_SETTINGS: Final = {
    "listen_addresses": "",
    "port": "5432",  # names the socket, nothing more
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "wal_compression": "on",
    # Commits wait while a file of the log is made: those that were used once are used again.
    "min_wal_size": "512MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "autovacuum_naptime": "15s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
}
_CARELESS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """An embedded PostgreSQL that accepts connections; `dsn` is a URI."""

    dsn: str
    data_dir: Path
    pid: int
    version: str


@asynccontextmanager
async def run(data_dir: Path, *, durable: bool = True) -> AsyncGenerator[Embedded]:
    """Run PostgreSQL on `data_dir` for as long as the context lasts.

    Without `durable` a crash of the machine may lose everything: for tests.

    Raises:
        EmbeddedError: it cannot start, or it ended by itself; then the context is cancelled.
    """
    server = await anyio.to_thread.run_sync(partial(start, data_dir, durable=durable))
    loop = asyncio.get_running_loop()
    try:
        with anyio.CancelScope() as scope:
            server.watch(lambda: loop.call_soon_threadsafe(scope.cancel))
            yield server.facts
        if scope.cancelled_caught:
            raise EmbeddedError(
                "The embedded PostgreSQL ended by itself; see "
                f"{server.facts.data_dir / 'postgres.log'}."
            )
    finally:
        with anyio.CancelScope(shield=True):  # stop has deadlines of its own
            await anyio.to_thread.run_sync(server.stop)


def start(data_dir: Path, *, durable: bool = True, binaries: Path | None = None) -> Server:
    """Start PostgreSQL on `data_dir`, made if need be, and wait until it accepts connections.

    `binaries` is the folder of its programs, by default the one that `find_binaries` finds.

    Raises:
        EmbeddedError: it cannot start; the message says what to do.
    """
    data_dir = data_dir.expanduser().resolve()
    try:
        return _start(data_dir, binaries or find_binaries(), durable=durable)
    except OSError as error:  # it turned read-only, or its disk is full
        raise EmbeddedError(
            f"The data folder {data_dir} cannot be used: {error.strerror}. Mend that, or choose "
            "another."
        ) from error


class Server:
    """A running PostgreSQL and the lock on its data; `stop` lets go of both."""

    def __init__(self, facts: Embedded, child: Child, socket: Path, descriptor: int) -> None:
        self.facts = facts
        self._socket = socket
        self._child = child
        self._descriptor: int | None = descriptor

    def watch(self, on_end: Callable[[], object]) -> None:
        """Have `on_end` called, in another thread, should PostgreSQL end before `stop`."""
        self._child.watch(on_end)

    def stop(self) -> None:
        """Stop it: connections are ended and everything is written; at the deadline, at once."""
        if self._descriptor is None:
            return
        self._child.stop()
        pgfolder.tidy(self.facts.data_dir, self._socket)
        os.close(self._descriptor)
        self._descriptor = None


def _start(data_dir: Path, binaries: Path, *, durable: bool) -> Server:
    pgfolder.adopt(data_dir)
    descriptor = pgfolder.lock(data_dir)
    try:
        return _start_locked(data_dir, descriptor, binaries, durable=durable)
    except BaseException:
        os.close(descriptor)
        raise


def _start_locked(data_dir: Path, descriptor: int, binaries: Path, *, durable: bool) -> Server:
    cluster = data_dir / "cluster"
    account = pgbinaries.choose_account(cluster)
    pgfolder.open_to(data_dir, account)
    binaries = pgbinaries.reachable(binaries, account, data_dir)
    version = pgbinaries.version_of(binaries, account)
    if not cluster.exists():
        _init(binaries, cluster, account, descriptor, durable=durable)
    _check_version(cluster, version)
    socket = pgfolder.socket_folder(data_dir, account)
    pgfolder.clear_stale(cluster, socket)
    child = _launch(binaries, cluster, socket, account, descriptor, durable=durable)
    try:
        _await_ready(child, cluster)
        dsn = _open_database(socket)
    except BaseException:
        child.stop()
        raise
    pgfolder.write_private(data_dir / "dsn", dsn + "\n")
    facts = Embedded(dsn=dsn, data_dir=data_dir, pid=child.pid, version=version)
    return Server(facts, child, socket, descriptor)


def _launch(
    binaries: Path,
    cluster: Path,
    socket: Path,
    account: Account | None,
    descriptor: int,
    *,
    durable: bool,
) -> Child:
    settings = _SETTINGS | {"unix_socket_directories": str(socket)} | ({} if durable else _CARELESS)
    command = [str(binaries / "postgres"), "-D", str(cluster)]
    command += [f"--{name}={value}" for name, value in settings.items()]
    log = pgfolder.open_log(cluster.parent)
    try:
        return Child(command, log=log, keep=descriptor, account=account)
    finally:
        os.close(log)


def _init(
    binaries: Path, cluster: Path, account: Account | None, descriptor: int, *, durable: bool
) -> None:
    """Make the cluster beside its place, then move it there: a half-made one is never used."""
    unfinished = cluster.with_name("cluster.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    pgfolder.make_private(unfinished, account)
    command = [str(binaries / "initdb"), "-D", str(unfinished), "--username", _NAME]
    command += ["--encoding=UTF8", "--locale=C", "--data-checksums"]
    command += ["--auth-local=trust", "--auth-host=reject"]
    command += [] if durable else ["--no-sync"]
    pgbinaries.run_program(command, account, keep=(descriptor,))
    unfinished.rename(cluster)


def _check_version(cluster: Path, version: str) -> None:
    made_by = (cluster / "PG_VERSION").read_text().strip()
    if made_by != version.partition(".")[0]:
        raise EmbeddedError(
            f"{cluster} was made by PostgreSQL {made_by} and cannot be opened by {version}: go "
            f"back to {made_by}, or move the data with its pg_dump, or choose another data folder."
        )


def _await_ready(child: Child, cluster: Path) -> None:
    """Wait for the word that PostgreSQL writes into line 8 of its pid file, as pg_ctl does."""
    log = cluster.with_name("postgres.log")
    deadline = time.monotonic() + _START_DEADLINE_S
    while not child.ended.wait(_LOOK_S):
        if _status(cluster) == "ready":
            return
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"The embedded PostgreSQL is not ready after {_START_DEADLINE_S:.0f} s; see {log}."
            )
    last = " / ".join(log.read_text(errors="replace").splitlines()[-3:])
    raise EmbeddedError(f"The embedded PostgreSQL ended while starting; {log} says: {last}")


def _status(cluster: Path) -> str:
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return "".join(lines[7:8]).strip()


def _open_database(socket: Path) -> str:
    """Make our database unless it exists, and give its DSN."""
    host = quote(str(socket))
    with psycopg.connect(
        f"postgresql://{_NAME}@/postgres?host={host}", autocommit=True, connect_timeout=10
    ) as conn:
        query = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s"
        if conn.execute(query, [_NAME]).fetchone() is None:
            conn.execute(f"CREATE DATABASE {_NAME}")
    return f"postgresql://{_NAME}@/{_NAME}?host={host}"
