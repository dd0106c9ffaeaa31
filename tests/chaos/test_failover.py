"""A primary that dies and a standby that takes its place, by a DSN that names both."""

from __future__ import annotations

import shutil
import signal
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import pytest

from chaos.postgres import clone, insist
from chaos.promises import kept, more, open_folder, runs_a_job
from chaos.proxy import Proxy, socket_of
from chaos.stack import open_stack
from signalstack.store import embedded

if TYPE_CHECKING:
    from chaos.stack import Stack
    from signalstack.store.embedded import Server

pytestmark = [pytest.mark.slow, pytest.mark.long]


async def _stand_by(stack: Stack) -> Server:
    """Make a standby of the stack's PostgreSQL, without which that commits nothing."""
    data_dir = stack.folder / "standby"
    await clone(stack.dsn, data_dir)
    standby = await anyio.to_thread.run_sync(embedded.start, data_dir)
    await insist(stack)
    return standby


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
