"""Owns what every Python adapter shares: JSON lines in and out, the loops that are timed, stamps.

The standard library alone, for it runs in the environment of each peer. `serve.mjs` is its twin.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import sys
from importlib.util import find_spec
from pathlib import Path
from struct import Struct
from time import monotonic_ns, perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

_SLOT = Struct("=q")
NO_STAMP = -1


class Config(NamedTuple):
    """What the harness tells an adapter; `mode` is what a worker is set up for."""

    url: str
    stamps: str
    mode: str  # latency, throughput


class Client(Protocol):
    """Creates jobs the way the peer's documentation says; returns when they are stored."""

    async def one(self, slot: int) -> object:
        """Create a job that stamps this slot when it starts."""
        ...

    async def many(self, slots: Sequence[int]) -> object:
        """Create so many jobs in one call."""
        ...


def main(
    open_client: Callable[[Config], AbstractAsyncContextManager[Client]],
    work: Callable[[Config, Callable[[int], None]], Awaitable[object]],
) -> None:
    """Be the client or a worker, as the command line says: ROLE CONFIG."""
    config = Config(**json.loads(sys.argv[2]))
    task = serve(open_client, config) if sys.argv[1] == "client" else work(config, stamper(config))
    run(task)


def run(task: Awaitable[object]) -> None:
    """Run on uvloop where the environment has it."""

    async def whole() -> None:
        await task

    if find_spec("uvloop"):
        import uvloop  # noqa: PLC0415 - not every environment has it

        uvloop.run(whole())
    else:
        asyncio.run(whole())


def say(answer: dict[str, Any]) -> None:
    """Answer the harness."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def stamper(config: Config) -> Callable[[int], None]:
    """Give what a handler calls first: it takes the moment down, where the job has a slot."""
    with Path(config.stamps).open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)

    def stamp(slot: int) -> None:
        if slot != NO_STAMP:
            _SLOT.pack_into(memory, slot * _SLOT.size, monotonic_ns())

    return stamp


async def serve(
    open_client: Callable[[Config], AbstractAsyncContextManager[Client]], config: Config
) -> None:
    """Do what each line asks, until there are no more."""
    async with open_client(config) as client:
        say({"ready": True})
        async for line in _lines():
            command = json.loads(line)
            say(await COMMANDS[command.pop("do")](client, **command))


async def _lines() -> AsyncGenerator[bytes]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line


async def _one(client: Client, slot: int) -> dict[str, Any]:
    called = monotonic_ns()
    await client.one(slot)
    return {"called": called, "returned": monotonic_ns()}


async def _steady(client: Client, count: int, rate: float) -> dict[str, Any]:
    """An open loop: jobs come when they are due, however long earlier ones take."""
    called = [0] * count

    async def probe(slot: int) -> None:
        called[slot] = monotonic_ns()
        await client.one(slot)

    began = perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for slot in range(count):
            await asyncio.sleep(max(began + slot / rate - perf_counter(), 0))
            tasks.create_task(probe(slot))
    return {"called": called}


async def _create(client: Client, callers: int, batch: int, seconds: float) -> dict[str, Any]:
    """A closed loop of so many callers."""
    count = 0
    began = perf_counter()

    async def repeat() -> None:
        nonlocal count
        while perf_counter() - began < seconds:
            await (client.one(NO_STAMP) if batch == 1 else client.many([NO_STAMP] * batch))
            count += batch

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(repeat())
    return {"jobs": count, "seconds": perf_counter() - began}


async def _backlog(client: Client, jobs: int, batch: int, every: int) -> dict[str, Any]:
    """Store a backlog, of which every so many-th job stamps."""
    for first in range(0, jobs, batch):
        numbers = range(first, min(first + batch, jobs))
        await client.many([n // every if n % every == 0 else NO_STAMP for n in numbers])
    return {}


COMMANDS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    "one": _one,
    "steady": _steady,
    "create": _create,
    "backlog": _backlog,
}
