"""A worker whose network is cut: no reset, no end, just silence, as when a cable is pulled."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from chaos.promises import kept, more, until
from chaos.proxy import Proxy, socket_of
from chaos.stack import LEASE_S, open_stack
from programs import find

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from chaos.stack import Stack

pytestmark = pytest.mark.slow


class Cable:
    """A network namespace and the one cable that leads to it."""

    def __init__(self) -> None:
        self.ip = find("ip")
        self.namespace = f"chaos{os.getpid()}"
        self.here, self.there = f"c{os.getpid()}a", f"c{os.getpid()}b"
        net = f"10.213.{os.getpid() % 250}"
        self.address, self.far = f"{net}.1", f"{net}.2"

    def lay(self) -> bool:
        """Lay it; False where that is not allowed."""
        if os.geteuid() or not self._run("netns", "add", self.namespace):
            return False
        return (
            self._run("link", "add", self.here, "type", "veth", "peer", "name", self.there)
            and self._run("link", "set", self.there, "netns", self.namespace)
            and self._run("addr", "add", f"{self.address}/24", "dev", self.here)
            and self._run("link", "set", self.here, "up")
            and self._run("-n", self.namespace, "addr", "add", f"{self.far}/24", "dev", self.there)
            and self._run("-n", self.namespace, "link", "set", self.there, "up")
            and self._run("-n", self.namespace, "link", "set", "lo", "up")
        )

    def set(self, state: str) -> None:
        """Pull it out (`down`) or put it in (`up`)."""
        assert self._run("link", "set", self.here, state)

    def take_up(self) -> None:
        """Take it up again."""
        self._run("link", "del", self.here)
        self._run("netns", "del", self.namespace)

    def _run(self, *arguments: str) -> bool:
        return not subprocess.run([self.ip, *arguments], check=False).returncode


@contextmanager
def _cable() -> Generator[Cable]:
    cable = Cable()
    try:
        if not cable.lay():
            pytest.skip("network namespaces are for root alone")
        yield cable
    finally:
        cable.take_up()


@pytest.mark.timeout(120)
async def test_a_worker_cut_off_is_replaced_and_comes_back(
    database_url: str, tmp_path: Path
) -> None:
    with _cable() as cable:
        way: list[Proxy] = []

        async def arrange(stack: Stack) -> None:
            proxy = Proxy(socket_of(stack.dsn), host=cable.address)
            await stack.opened.enter_async_context(proxy.run())
            way.append(proxy)
            far = stack.workers[1]
            near = f"127.0.0.1:{stack.proxies[far.name].port}"
            far.settings["DATABASE_URL"] = far.settings["DATABASE_URL"].replace(
                near, f"{cable.address}:{proxy.port}"
            )
            far.prefix = (cable.ip, "netns", "exec", cable.namespace)

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
            cable.set("down")
            await until(one, LEASE_S + 5)
            await more(told)
            cable.set("up")
            await until(both, 20)
            await more(told)
            starts = [member.starts for member in stack.members]
    assert starts == [1, 1, 1]
