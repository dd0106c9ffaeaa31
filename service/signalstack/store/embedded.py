"""Owns the embedded PostgreSQL: made on first use, our direct child, gone when we are.

It listens on a unix socket in a private folder and on no port: whoever can open the socket could
read the data files as well, so there is no password. `psql "$(cat DATA_DIR/dsn)"` connects.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
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
from signalstack.store import pgbinaries, pgfolder, pglaunch
from signalstack.store.pgbinaries import find_binaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from signalstack.store.pgbinaries import Account

__all__ = ["Embedded", "Server", "default_data_dir", "find_binaries", "run", "start"]

_NAME: Final = "signalstack"  # of the role and of the database
_START_DEADLINE_S: Final = 60.0  # crash recovery may have to replay the log
_STOP_DEADLINE_S: Final = 30.0
_QUIT_DEADLINE_S: Final = 10.0
_LOOK_S: Final = 0.01

_SETTINGS: Final = {
    "listen_addresses": "",
    "port": "5432",  # names the socket, nothing more
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "wal_compression": "on",
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


def default_data_dir(data_home: Path) -> Path:
    """Choose the data folder; `data_home` is the user's, usually ~/.local/share.

    Root's home is closed to the user that PostgreSQL has to run as.
    """
    return Path("/var/lib/signalstack") if os.geteuid() == 0 else data_home / "signalstack"


@asynccontextmanager
async def run(data_dir: Path, *, durable: bool = True) -> AsyncIterator[Embedded]:
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
                f"The embedded PostgreSQL ended by itself; see {server.facts.data_dir}/postgres.log."
            )
    finally:
        with anyio.CancelScope(shield=True):  # stop has deadlines of its own
            await anyio.to_thread.run_sync(server.stop)


def start(data_dir: Path, *, durable: bool = True) -> Server:
    """Start PostgreSQL on `data_dir`, made if need be, and wait until it accepts connections.

    Raises:
        EmbeddedError: it cannot start; the message says what to do.
    """
    data_dir = data_dir.expanduser().resolve()
    pgfolder.adopt(data_dir)
    descriptor = pgfolder.lock(data_dir)
    try:
        return _start_locked(data_dir, descriptor, durable=durable)
    except BaseException:
        os.close(descriptor)
        raise


class Server:
    """A running PostgreSQL and the lock on its data; `stop` lets go of both."""

    def __init__(self, facts: Embedded, child: _Child, descriptor: int) -> None:
        self.facts = facts
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
        (self.facts.data_dir / "dsn").unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


class _Child:
    """PostgreSQL's first process, begun and awaited by a thread that lives exactly as long.

    The kernel's signal for a dead parent comes when the *thread* that forked ends, so it must not
    be one of a pool's.
    """

    def __init__(self, command: list[str], *, log: int, keep: int, account: Account | None) -> None:
        self.ended = threading.Event()
        self._on_end: Callable[[], object] | None = None
        self._began: Future[subprocess.Popen[bytes]] = Future()
        launch = [sys.executable, "-I", "-S", pglaunch.__file__, str(os.getpid())]
        launch += [str(account.uid), str(account.gid)] if account else ["-", "-"]
        begin = partial(
            subprocess.Popen[bytes],
            [*launch, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(keep,),
            cwd="/",
            env={"LC_ALL": "C", "PATH": os.defpath},
            start_new_session=True,  # Ctrl-C is for us; we decide when it stops
        )
        threading.Thread(target=self._live, args=(begin,), name="postgres", daemon=True).start()
        self.process = self._began.result()

    def watch(self, on_end: Callable[[], object]) -> None:
        self._on_end = on_end
        if self.ended.is_set():
            on_end()

    def stop(self) -> None:
        self._on_end = None
        for number, deadline_s in (
            (signal.SIGINT, _STOP_DEADLINE_S),  # fast shutdown
            (signal.SIGQUIT, _QUIT_DEADLINE_S),  # immediate shutdown
            (signal.SIGKILL, None),
        ):
            self.process.send_signal(number)
            if self.ended.wait(deadline_s):
                return

    def _live(self, begin: Callable[[], subprocess.Popen[bytes]]) -> None:
        try:
            process = begin()
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits for it
            self.ended.set()
            self._began.set_exception(error)
            return
        self._began.set_result(process)
        process.wait()
        self.ended.set()
        if on_end := self._on_end:
            on_end()


def _start_locked(data_dir: Path, descriptor: int, *, durable: bool) -> Server:
    cluster = data_dir / "cluster"
    account = pgbinaries.choose_account(cluster)
    if account:
        pgfolder.open_to(data_dir, account)
    binaries = pgbinaries.reachable(find_binaries(), account, data_dir)
    version = pgbinaries.version_of(binaries, account)
    if not cluster.exists():
        _init(binaries, cluster, account, durable=durable)
    _check_version(cluster, version)
    pgfolder.clear_stale_pid(cluster)
    socket = pgfolder.socket_folder(data_dir, account)
    settings = _SETTINGS | {"unix_socket_directories": str(socket)} | ({} if durable else _CARELESS)
    command = [str(binaries / "postgres"), "-D", str(cluster)]
    command += [f"--{name}={value}" for name, value in settings.items()]
    log = pgfolder.open_log(data_dir)
    try:
        child = _Child(command, log=log, keep=descriptor, account=account)
    finally:
        os.close(log)
    try:
        _await_ready(child, cluster, data_dir)
        dsn = _open_database(socket)
    except BaseException:
        child.stop()
        raise
    _write_private(data_dir / "dsn", dsn + "\n")
    facts = Embedded(dsn=dsn, data_dir=data_dir, pid=child.process.pid, version=version)
    return Server(facts, child, descriptor)


def _init(binaries: Path, cluster: Path, account: Account | None, *, durable: bool) -> None:
    """Make the cluster beside its place and move it there, so that a half-made one is never used."""
    unfinished = cluster.with_name("cluster.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    pgfolder.make_private(unfinished, account)
    command = [str(binaries / "initdb"), "-D", str(unfinished), "--username", _NAME]
    command += ["--encoding=UTF8", "--locale=C", "--data-checksums"]
    command += ["--auth-local=trust", "--auth-host=reject"]
    pgbinaries.run_program(command if durable else [*command, "--no-sync"], account)
    unfinished.rename(cluster)


def _check_version(cluster: Path, version: str) -> None:
    made_by = (cluster / "PG_VERSION").read_text().strip()
    major = version.partition(".")[0]
    if not major.startswith(made_by):
        raise EmbeddedError(
            f"{cluster} was made by PostgreSQL {made_by} and cannot be opened by {version}: use the "
            f"programs of {made_by}, or move the data with pg_upgrade or pg_dump, or choose another "
            "data folder."
        )


def _await_ready(child: _Child, cluster: Path, data_dir: Path) -> None:
    """Wait for the word that PostgreSQL writes into line 8 of its pid file, as pg_ctl does."""
    deadline = time.monotonic() + _START_DEADLINE_S
    while not child.ended.wait(_LOOK_S):
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            lines = []
        if lines[7:8] and lines[7].strip() == "ready":
            return
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"The embedded PostgreSQL is not ready after {_START_DEADLINE_S:.0f} seconds; "
                f"see {data_dir}/postgres.log."
            )
    last = (data_dir / "postgres.log").read_text(errors="replace").splitlines()[-3:]
    raise EmbeddedError(f"The embedded PostgreSQL ended while starting: {' / '.join(last)}")


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


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(path, "x", opener=partial(os.open, mode=0o600)) as file:  # noqa: PTH123 - needs the mode at birth
        file.write(text)
