"""A worker whose network is cut: no reset, no end, just silence, as when a cable is pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.network import open_network
from chaos.promises import kept, more, until
from chaos.proxy import Proxy, socket_of
from chaos.stack import LEASE_S, open_stack

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.stack import Stack

pytestmark = pytest.mark.slow


@pytest.mark.timeout(120)
async def test_a_worker_cut_off_is_replaced_and_comes_back(
    database_url: str, tmp_path: Path
) -> None:
    with open_network("far") as network:
        host = network.hosts["far"]
        way: list[Proxy] = []

        async def arrange(stack: Stack) -> None:
            proxy = Proxy(socket_of(stack.dsn), host=network.address)
            await stack.opened.enter_async_context(proxy.run())
            way.append(proxy)
            far = stack.workers[1]
            near = f"127.0.0.1:{stack.proxies[far.name].port}"
            far.settings["DATABASE_URL"] = far.settings["DATABASE_URL"].replace(
                near, f"{network.address}:{proxy.port}"
            )
            far.prefix = host.prefix

        async with (
            open_stack(tmp_path, dsn=database_url, arrange=arrange) as stack,
            kept(stack) as told,
        ):

            async def both() -> bool:
                rows = await stack.rows(
                    "SELECT id FROM signalstack.workers WHERE lease_until > clock_timestamp()"
                )
                return len(rows) == 2

            async def one() -> bool:
                return not await both()

            await until(both)
            await more(told)
            host.pull()
            await until(one, LEASE_S + 5)
            await more(told)
            host.plug()
            await until(both, 20)
            await more(told)
            starts = [member.starts for member in stack.members]
    assert starts == [1, 1, 1]
