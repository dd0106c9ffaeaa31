"""How fast worker processes empty a backlog that was there before they turned to it."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.bench.figure import BenchError, Figure, rate
from signalstack.bench.rig import QUEUE
from signalstack.core.job import JobRequest
from signalstack.store import baseline

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from signalstack.bench.process import Running
    from signalstack.bench.rig import Rig

_BATCH: Final = 1_000
_TRACED_BATCH: Final = 100  # jobs of one trace
_FEEDERS: Final = 4
_TAKE: Final = 500
_LOOK_S: Final = 0.02
_DRAIN_S: Final = 300.0
_PROCESSES: Final = (1, 2)


async def measure_drain(rig: Rig) -> list[Figure]:
    """Drain with one and with two worker processes, and with nothing but deletes."""
    jobs, rounds = (3_000, 1) if rig.quick else (50_000, 3)
    rates: dict[int, list[float]] = {processes: [] for processes in _PROCESSES}
    floors: list[float] = []
    for _ in range(rounds):
        for processes in _PROCESSES:
            reached = await drain(rig, jobs, rig.workers(processes))
            rig.say(f"drain with {processes}: {reached:,.0f}/s")
            rates[processes].append(reached)
        floors.append(await _delete(rig, jobs))
    return [
        *(
            rate(
                f"drain.{processes}",
                f"drain, {processes} worker process{'es' if processes > 1 else ''}",
                rates[processes],
                floor="drain.delete",
            )
            for processes in _PROCESSES
        ),
        rate("drain.delete", f"floor: bare deletes of {_TAKE}, one client", floors),
    ]


async def drain(
    rig: Rig,
    jobs: int,
    running: AbstractAsyncContextManager[list[Running]],
    *,
    sampled: int | None = None,
) -> float:
    """Let these workers empty a backlog; returns the jobs that they ended a second.

    With `sampled`, the jobs carry the context of a trace, of which one in so many is sampled.

    Raises:
        BenchError: they did not end, or not well.
    """
    await rig.clear()
    async with running as workers:
        # Paused rather than started late: they begin at the same moment, whatever starting costs.
        for worker in workers:
            worker.pause()
        await _preload(rig, jobs, sampled)
        for worker in workers:
            worker.resume()
        ended_at = await _until_drained(rig)
    async with rig.pool.connection() as conn:
        found = await baseline.drain_of(conn, user_id=rig.user_id)
    if found is None or found.succeeded != jobs:
        raise BenchError(f"{found.succeeded if found else 0} of {jobs} jobs succeeded in a drain")
    return jobs / (ended_at - found.began_at).total_seconds()


async def _preload(rig: Rig, jobs: int, sampled: int | None = None) -> None:
    size = _BATCH if sampled is None else _TRACED_BATCH
    batch = [JobRequest(type="noop", queue=QUEUE)] * size
    numbers = iter(range(jobs // size))

    async def feed() -> None:
        for number in numbers:
            await rig.enqueue(*batch, traceparent=_trace(number, sampled))

    async with anyio.create_task_group() as tasks:
        for _ in range(_FEEDERS):
            tasks.start_soon(feed)


def _trace(number: int, sampled: int | None) -> str | None:
    if sampled is None:
        return None
    return f"00-{number + 1:032x}-{1:016x}-{number % sampled == 0:02x}"


async def _until_drained(rig: Rig) -> datetime:
    with anyio.move_on_after(_DRAIN_S):
        async with rig.pool.connection() as conn:
            while True:
                seen = await baseline.look(conn, user_id=rig.user_id)
                if seen.drained:
                    return seen.at
                await anyio.sleep(_LOOK_S)
    raise BenchError(f"the workers did not drain the backlog in {_DRAIN_S:.0f} s")


async def _delete(rig: Rig, jobs: int) -> float:
    await rig.clear()
    await _preload(rig, jobs)
    async with rig.pool.connection() as conn:
        began = perf_counter()
        while await baseline.take(conn, user_id=rig.user_id, queue=QUEUE, limit=_TAKE):
            pass
        return jobs / (perf_counter() - began)
