"""The protocol: what is done to every peer alike, and what is taken down."""

from __future__ import annotations

import os
import random
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from math import inf
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from bench.peers import install
from bench.peers.figures import quantile
from bench.peers.process import Adapter, PeerError, running
from bench.peers.roster import Peer
from bench.peers.servers import Host, Store
from signalstack.bench.stamps import Stamps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from bench.peers.figures import Values

SLOTS: Final = 8_192
_GAP_S: Final = (0.005, 0.025)
_COLD: Final = 20
_START_S: Final = 30.0
_START_EACH_S: Final = 5.0
_SETTLE_S: Final = 1.5  # a worker has said that it is ready; its first polls are past after this
_ARRIVAL_S: Final = 20.0
_LOOK_S: Final = 0.005
_BACKLOG_S: Final = 120.0
_EVERY: Final = 50  # of the jobs of a backlog stamp: the others do nothing at all
_ASKING: Final = 2  # transactions of ours from one count to the next
_MS: Final = 1e6


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    idle: int = 500
    idle_s: float = 20.0
    """A peer that polls would take minutes: after this it is told by as many jobs as came."""
    steady_s: float = 10.0
    backlog: int = 50_000
    drain_s: float = 30.0
    """A drain is cut after this; its rate is that of the jobs settled by then."""
    create_s: float = 2.0
    calm_s: float = 12.0
    rest_s: float = 60.0
    grown: int = 1_000_000


QUICK: Final = Size(
    idle=25,
    idle_s=5,
    steady_s=1,
    backlog=2_000,
    drain_s=8,
    create_s=0.5,
    calm_s=12,
    rest_s=20,
    grown=20_000,
)


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """One peer on call: its server, its client, its store, and how its workers are started."""

    peer: Peer
    host: Host
    file: Path
    """The file of stamps, in which each measurement begins anew."""
    client: Adapter
    store: Store
    size: Size
    grown: bool = False

    def pause(self) -> None:
        """Have its client and its server do nothing at all."""
        self.client.pause()
        self.host.pause()

    @contextmanager
    def awake(self) -> Generator[None]:
        """Let both go on for as long as it is measured."""
        os.sync()  # what others left to be written would hold up its commits
        self.host.resume()
        self.client.resume()
        try:
            yield
        finally:
            self.pause()

    @asynccontextmanager
    async def workers(
        self, count: int, mode: str, *, first: int = 0
    ) -> AsyncGenerator[list[Adapter]]:
        """Run so many worker processes, set up for `latency` or `throughput`."""
        async with AsyncExitStack() as stack:
            started: list[Adapter] = []
            for number in range(first, first + count):
                errors = self.file.with_name(f"{self.file.stem}-worker-{number}.log")
                command = _command(self.peer, "worker", self.host.url, self.file, mode)
                started.append(await stack.enter_async_context(running(command, errors)))
            for worker in started:
                patience_s = max(_START_S, _START_EACH_S * count)  # they share what CPUs there are
                worker.said = await worker.until(self.peer.ready, within_s=patience_s)
            await anyio.sleep(_SETTLE_S)
            yield started


@asynccontextmanager
async def open_client(peer: Peer, url: str, file: Path) -> AsyncGenerator[Adapter]:
    """Run the peer's client; its tables are there when it is ready."""
    Stamps.make(file, SLOTS)
    errors = file.with_name(f"{file.stem}-client.log")
    async with running(_command(peer, "client", url, file, "latency"), errors) as client:
        await client.until('{"ready": true}')
        yield client


async def idle(bench: Bench, workers: int = 1) -> Values:
    """One job after another, each after a pause of 5 to 25 ms and the arrival of the one before."""
    await bench.store.clear()
    stamps = Stamps.make(bench.file, SLOTS)
    rng = random.Random(20_260_000)  # noqa: S311 - jitter is no secret
    posts: list[int] = []
    totals: list[int] = []
    async with bench.workers(workers, "latency"):
        ends = anyio.current_time() + bench.size.idle_s
        for slot in range(_COLD + bench.size.idle):
            await anyio.sleep(rng.uniform(*_GAP_S))
            moments = await bench.client.ask("one", slot=slot)
            started = await stamps.wait(slot, within_s=_ARRIVAL_S)
            posts.append(started - moments["returned"])
            totals.append(started - moments["called"])
            if anyio.current_time() > ends and slot > _COLD:
                break
    cold = min(_COLD, len(posts) // 2)
    return {
        "post.p50": quantile(posts[cold:], 0.5) / _MS,
        "post.p99": quantile(posts[cold:], 0.99) / _MS,
        "total.p50": quantile(totals[cold:], 0.5) / _MS,
        "total.p99": quantile(totals[cold:], 0.99) / _MS,
    }


async def turns(benches: Sequence[Bench]) -> list[Values]:
    """Measure idle of several builds job by job in turns, so that all meet the same moments."""
    rng = random.Random(20_260_001)  # noqa: S311 - jitter is no secret
    calls: list[list[int]] = [[] for _ in benches]
    totals: list[list[int]] = [[] for _ in benches]
    async with AsyncExitStack() as stack:
        for bench in benches:
            await bench.store.clear()
            await stack.enter_async_context(bench.workers(1, "latency"))
        stamps = [Stamps.make(bench.file, SLOTS) for bench in benches]
        for slot in range(_COLD + benches[0].size.idle):
            for number in rng.sample(range(len(benches)), len(benches)):
                await anyio.sleep(rng.uniform(*_GAP_S))
                moments = await benches[number].client.ask("one", slot=slot)
                started = await stamps[number].wait(slot, within_s=_ARRIVAL_S)
                calls[number].append(moments["returned"] - moments["called"])
                totals[number].append(started - moments["called"])
    return [
        {
            "total.p50": quantile(total[_COLD:], 0.5) / _MS,
            "total.p99": quantile(total[_COLD:], 0.99) / _MS,
            "call.p50": quantile(call[_COLD:], 0.5) / _MS,
        }
        for total, call in zip(totals, calls, strict=True)
    ]


async def steady(bench: Bench, rate: int = 200) -> Values:
    """Jobs come when they are due, so many a second, however long earlier ones take."""
    await bench.store.clear()
    stamps = Stamps.make(bench.file, SLOTS)
    count = min(int(bench.size.steady_s * rate), SLOTS)
    async with bench.workers(1, "latency"):
        taken = await stream(bench, stamps, count, rate)
    return spread(taken[_COLD:])


async def stream(bench: Bench, stamps: Stamps, count: int, rate: int) -> list[int]:
    """Send so many jobs, so many a second; tell how long after each call it started, in ns."""
    told = await bench.client.ask("steady", count=count, rate=rate)
    with anyio.move_on_after(_ARRIVAL_S):
        arrived = [await stamps.wait(slot, within_s=inf) for slot in range(count)]
        return [at - called for at, called in zip(arrived, told["called"], strict=True)]
    there = sum(1 for slot in range(count) if stamps.get(slot))
    raise PeerError(f"{there} of {count} jobs had started {_ARRIVAL_S:g} s after the last was sent")


def spread(taken_ns: Sequence[int]) -> Values:
    """Tell the quantiles of these, in milliseconds."""
    return {"p50": quantile(taken_ns, 0.5) / _MS, "p99": quantile(taken_ns, 0.99) / _MS}


async def drain(bench: Bench, workers: int) -> Values:
    """Empty a backlog that was there before the workers turned to it, first claim and all."""
    await bench.store.clear()
    stamps = Stamps.make(bench.file, SLOTS)
    jobs = bench.size.backlog
    async with bench.workers(workers, "throughput") as started:
        # Paused rather than started late: they begin together, whatever starting costs.
        for worker in started:
            worker.pause()
        await bench.client.ask("backlog", jobs=jobs, batch=1_000, every=_EVERY, within_s=_BACKLOG_S)
        before = await bench.store.left()
        if not jobs - workers <= before <= jobs:  # a paused worker may hold what it popped
            raise PeerError(f"{before} of {jobs} jobs of {bench.peer.name} wait for a drain")
        spent = await _cpu_s(bench, started)
        began = monotonic_ns()
        for worker in started:
            worker.resume()
        left, ended = await _until_drained(bench, stamps, jobs)
        spent = await _cpu_s(bench, started) - spent
    if not left and not all(stamps.get(slot) for slot in range(jobs // _EVERY)):
        raise PeerError(f"jobs of {bench.peer.name} are gone that never ran")
    done = jobs - left
    return {"rate": done / (ended - began) * 1e9, "cpu": spent / max(done, 1) * 1e6}


async def _cpu_s(bench: Bench, workers: Sequence[Adapter]) -> float:
    return sum(worker.cpu_s() for worker in workers) + await bench.store.cpu_s()


async def create(bench: Bench, callers: int, batch: int, workers: int) -> Values:
    """Callers repeat a call, each as soon as the last one returned."""
    await bench.store.clear()
    Stamps.make(bench.file, SLOTS)
    async with bench.workers(workers, "throughput"):
        told = await bench.client.ask(
            "create", callers=callers, batch=batch, seconds=bench.size.create_s
        )
    return {"rate": told["jobs"] / told["seconds"]}


async def rest(bench: Bench) -> Values:
    """What a worker process costs that has nothing to do: its CPU, and the transactions it runs.

    That is what a second one adds to the first, which also leads the maintenance and has a figure
    of its own. PostgreSQL's own count of its database, which its clients at rest and autovacuum
    add little to.
    """
    await bench.store.clear()
    Stamps.make(bench.file, SLOTS)
    async with bench.workers(1, "latency") as (leader,):
        leading = await _cost_at_rest(bench, leader)
        async with bench.workers(1, "latency", first=1) as (worker,):
            both = await _cost_at_rest(bench, worker)
    return {
        "cpu": both["cpu"],
        "transactions": both["transactions"] - leading["transactions"],
        "leader": leading["transactions"],
    }


async def _cost_at_rest(bench: Bench, worker: Adapter) -> Values:
    # What starting costs is over, and PostgreSQL has been told of it: 10 s at the latest.
    await anyio.sleep(bench.size.calm_s)
    busy, transactions = worker.cpu_s(), await bench.store.transactions()
    await anyio.sleep(bench.size.rest_s)
    made = await bench.store.transactions() - transactions - _ASKING
    return {
        "cpu": 100 * (worker.cpu_s() - busy) / bench.size.rest_s,
        "transactions": made / bench.size.rest_s,
    }


async def grow(bench: Bench) -> None:
    """Give the tables a history and jobs of the future."""
    await bench.store.clear()
    rows = bench.size.grown
    if bench.peer.ours:
        await bench.client.ask("future", jobs=rows, batch=1_000, within_s=600)
    elif bench.peer.name == "graphile":
        await bench.client.ask("one", slot=-1)  # so that it knows the kind of job
        await bench.store.clear()
    await bench.store.grow(rows)


async def _until_drained(bench: Bench, stamps: Stamps, jobs: int) -> tuple[int, int]:
    """Wait for the end; tell what is left, and when that was asked.

    The tables are asked only once the last stamps are there: the drain is not looked at while on.
    """
    slot = 0
    with anyio.move_on_after(bench.size.drain_s):
        while True:
            while slot < jobs // _EVERY and stamps.get(slot):
                slot += 1
            if slot == jobs // _EVERY:
                asked = monotonic_ns()
                if not await bench.store.left():
                    return 0, asked
            await anyio.sleep(_LOOK_S)
    asked = monotonic_ns()
    return await bench.store.left(), asked


def _command(peer: Peer, role: str, url: str, stamps: Path, mode: str) -> list[str]:
    config = msgspec.json.encode({"url": url, "stamps": str(stamps), "mode": mode}).decode()
    return [*install.command(peer), role, config]
