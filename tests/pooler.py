"""A real PgBouncer in transaction mode before the tests' PostgreSQL."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

import psycopg

from programs import find

if TYPE_CHECKING:
    from collections.abc import Generator

_TRIES = 200


@contextmanager
def pgbouncer(dsn: str) -> Generator[str]:
    """Run PgBouncer before the database of `dsn` and give the DSN that leads through it."""
    target = urlsplit(dsn)
    host = target.hostname or parse_qs(target.query)["host"][0]
    name, user = target.path[1:], target.username or ""
    with tempfile.TemporaryDirectory(prefix="signalstack-pooler-", dir="/tmp") as folder:
        home = Path(folder)
        port = _free_port()
        server = f"host={host} port={target.port or 5432} dbname={name} user={user}"
        server += f" password={target.password}" if target.password else ""
        (home / "pgbouncer.ini").write_text(
            f"[databases]\n{name} = {server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
            f"logfile = {home}/log\n"
        )
        command = [find("pgbouncer"), "-q", str(home / "pgbouncer.ini")]
        if os.geteuid() == 0:  # which PgBouncer refuses to run as; it must open PostgreSQL's socket
            owner = Path(host, ".s.PGSQL.5432").stat() if host.startswith("/") else None
            uid, gid = (owner.st_uid, owner.st_gid) if owner else (65_534, 65_534)
            os.chown(home, uid, gid)
            process = subprocess.Popen(command, user=uid, group=gid, extra_groups=[])
        else:
            process = subprocess.Popen(command)
        try:
            pooled = f"postgresql://{quote(user)}@127.0.0.1:{port}/{name}"
            _await(pooled, process)
            yield pooled
        finally:
            process.terminate()
            process.wait(10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def _await(dsn: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(_TRIES):
        assert process.poll() is None, "PgBouncer ended while starting"
        try:
            psycopg.connect(dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        else:
            return
    raise AssertionError("PgBouncer takes no connections")
