"""The load on the API, in a process of its own: connections that ask again at once when answered.

`python -m signalstack.bench.load URL REQUEST_FILE CONNECTIONS SECONDS STATUS`; prints the rate.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from time import perf_counter
from typing import TYPE_CHECKING

import anyio
import click

from signalstack.bench.http import connected

if TYPE_CHECKING:
    from signalstack.bench.http import Caller


async def main(*words: str) -> None:
    """Ask for so long, then print `rate N`."""
    url, file, connections, seconds, status = words
    request = await anyio.Path(file).read_bytes()
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(connected(url)) for _ in range(int(connections))]
        for caller in callers:
            await caller.expect(request, int(status))
        began = perf_counter()
        count = 0

        async def ask_on(caller: Caller) -> None:
            nonlocal count
            while perf_counter() - began < float(seconds):
                await caller.expect(request, int(status))
                count += 1

        async with anyio.create_task_group() as tasks:
            for caller in callers:
                tasks.start_soon(ask_on, caller)
        click.echo(f"rate {count / (perf_counter() - began)}")


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:], backend_options={"use_uvloop": sys.platform == "linux"})
