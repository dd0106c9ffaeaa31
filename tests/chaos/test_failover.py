"""A primary that dies and a standby that takes its place, by a DSN that names both."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread
import pytest

from chaos.promises import kept, more, open_folder, runs_a_job, until
from chaos.proxy import Proxy, socket_of
from chaos.stack import open_stack
from signalstack.store import embedded

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.stack import Stack
    from signalstack.store.embedded import Server

pytestmark = [pytest.mark.slow, pytest.mark.long]


async def _stand_by(stack: Stack) -> Server:
    """Make a standby of the stack's PostgreSQL, without which that commits nothing."""
    data_dir = stack.folder / "standby"
    data_dir.mkdir(mode=0o711)
    (data_dir / "lock").touch()  # by which a data folder of ours is known
    program = embedded.find_binaries() / "pg_basebackup"
    if not program.exists():
        pytest.skip("this PostgreSQL comes without pg_basebackup")
    at = urlsplit(stack.dsn)
    host = unquote(at.query.removeprefix("host="))
    command = [str(program), "-h", host, "-U", at.username or "", "-D", str(data_dir / "cluster")]
    await anyio.run_process([*command, "-R", "--checkpoint=fast", "--no-sync"])
    owner = (stack.folder / "data" / "cluster").stat()
    await anyio.to_thread.run_sync(_hand_over, data_dir / "cluster", owner.st_uid, owner.st_gid)
    standby = await anyio.to_thread.run_sync(embedded.start, data_dir)
    await stack.rows("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await stack.rows("SELECT pg_reload_conf()")

    async def follows() -> bool:
        query = "SELECT pid FROM pg_stat_replication WHERE sync_state = 'sync'"
        return bool(await stack.rows(query))

    await until(follows)
    return standby


def _hand_over(cluster: Path, uid: int, gid: int) -> None:
    for path in (cluster, *cluster.rglob("*")):
        os.chown(path, uid, gid)


@pytest.mark.timeout(180)
async def test_a_promoted_standby_goes_on_with_all_that_was_acknowledged() -> None:
    standbys: list[Server] = []

    async def arrange(stack: Stack) -> None:
        standbys.append(await _stand_by(stack))
        ways = [Proxy(socket_of(dsn)) for dsn in (stack.dsn, standbys[0].facts.dsn)]
        for way in ways:
            await stack.opened.enter_async_context(way.run())
        at = urlsplit(stack.dsn)
        hosts = ",".join(f"127.0.0.1:{way.port}" for way in ways)
        for member in stack.members:
            member.settings["DATABASE_URL"] = f"postgresql://{at.username}@{hosts}{at.path}"

    with open_folder() as folder:
        try:
            async with open_stack(folder, arrange=arrange) as stack, kept(stack) as told:
                await more(told)
                await stack.stop_postgres(signal.SIGQUIT)
                stack.dsn = standbys[0].facts.dsn
                await stack.rows("SELECT pg_promote()")
                took_s = await runs_a_job(stack)
                stack.crashes[-1] = (stack.crashes[-1][0], anyio.current_time())
                await more(told)
                starts = [member.starts for member in stack.members]
        finally:
            for standby in standbys:
                await anyio.to_thread.run_sync(partial(standby.stop))
            shutil.rmtree(folder / "standby", ignore_errors=True)
    assert took_s < 15
    assert starts == [1, 1, 1]
