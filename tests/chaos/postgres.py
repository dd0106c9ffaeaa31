"""PostgreSQL by TCP, and a standby that follows: what the embedded one does not do by itself."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import psycopg
import pytest

from chaos.promises import until
from programs import find
from signalstack.store import embedded, pgbinaries

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from chaos.stack import Stack

_END_S: Final = 30
_FOLLOWS: Final = "SELECT pid FROM pg_stat_replication WHERE sync_state = 'sync'"


@contextmanager
def serve(
    data_dir: Path,
    *settings: str,
    access: Sequence[str],
    prefix: Sequence[str] = (),
    end: signal.Signals = signal.SIGINT,
) -> Generator[None]:
    """Run the cluster that an embedded PostgreSQL left, by TCP alone, until the block ends.

    `settings` are `name=value`, `access` the lines of pg_hba.conf, `prefix` what runs it elsewhere.
    """
    cluster = data_dir / "cluster"
    account = pgbinaries.choose_account(cluster)
    programs = pgbinaries.reachable(embedded.find_binaries(), account, data_dir)
    (cluster / "pg_hba.conf").write_text("".join(f"{line}\n" for line in access))
    command = [*prefix]
    if account is not None:
        ids = (f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups")
        command += [find("setpriv"), *ids]
    command += [str(programs / "postgres"), "-D", str(cluster), "--unix_socket_directories="]
    with (data_dir / "tcp.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *(f"--{setting}" for setting in settings)], stderr=log, cwd="/"
        )
    try:
        yield
    finally:
        process.send_signal(end)
        process.wait(_END_S)


async def answers(dsn: str) -> bool:
    """Tell whether a PostgreSQL lets us in."""
    await (await psycopg.AsyncConnection.connect(dsn, connect_timeout=2)).close()
    return True


async def clone(dsn: str, data_dir: Path, *, prefix: Sequence[str] = ()) -> None:
    """Make the data of a standby, which follows that PostgreSQL when it is started."""
    program = embedded.find_binaries() / "pg_basebackup"
    if not program.exists():
        pytest.skip("this PostgreSQL comes without pg_basebackup")
    await anyio.to_thread.run_sync(_prepare, data_dir)
    cluster = data_dir / "cluster"
    command = [*prefix, str(program), "--dbname", dsn, "--pgdata", str(cluster)]
    await anyio.run_process([*command, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
    await anyio.to_thread.run_sync(_hand_over, cluster)


async def insist(stack: Stack) -> None:
    """Have the stack's PostgreSQL commit nothing that its standby has not, from now on."""
    await stack.rows("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await stack.rows("SELECT pg_reload_conf()")

    async def follows() -> bool:
        return bool(await stack.rows(_FOLLOWS))

    await until(follows)


def _prepare(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o711)
    (data_dir / "lock").touch()  # by which a data folder of ours is known


def _hand_over(cluster: Path) -> None:
    """Give the files to whom PostgreSQL runs as."""
    account = pgbinaries.choose_account(cluster)
    if account is None:
        return
    for path in (cluster, *cluster.rglob("*")):
        os.chown(path, account.uid, account.gid)
