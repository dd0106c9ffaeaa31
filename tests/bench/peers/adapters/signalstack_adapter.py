"""SignalStack itself, by the same commands: an acceptor without HTTP, real `signalstack worker`s.

The acceptor, the handler and its stamps are those of `signalstack bench`; settings are the usual
ones, for latency and for throughput alike.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec
import serve

from signalstack import settings as environment
from signalstack.bench.enqueue import measure_http
from signalstack.bench.handlers import LOCATION
from signalstack.bench.probe import stamp_job
from signalstack.bench.rig import QUEUE, open_rig
from signalstack.core.job import JobRequest
from signalstack.wiring import Database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from signalstack.bench.rig import Rig

_NOOP = JobRequest(type="noop", queue=QUEUE)
_DAY_S = 86_400.0


class _Client:
    def __init__(self, rig: Rig, stamps: Path) -> None:
        self.rig = rig
        self._stamps = stamps
        self._tenants = [rig]
        self._turns = cycle(self._tenants)

    def _job(self, slot: int) -> JobRequest:
        return _NOOP if slot == serve.NO_STAMP else stamp_job(self._stamps, slot)

    def serve_tenants(self, users: Iterable[UUID]) -> None:
        """Have these tenants create jobs in turns."""
        self._tenants = [msgspec.structs.replace(self.rig, user_id=user) for user in users]
        self._turns = cycle(self._tenants)

    async def one(self, slot: int) -> object:
        return await next(self._turns).enqueue(self._job(slot))

    async def many(self, slots: Sequence[int]) -> object:
        jobs = [self._job(slot) for slot in slots]
        parts = min(len(self._tenants), len(jobs))
        async with asyncio.TaskGroup() as tasks:
            for part in range(parts):
                tasks.create_task(next(self._turns).enqueue(*jobs[part::parts]))
        return None


@asynccontextmanager
async def _open(config: serve.Config) -> AsyncGenerator[_Client]:
    database = Database(dsn=config.url, direct_dsn=config.url)
    settings = environment.load({})
    stamps = Path(config.stamps)  # in a folder that the harness takes away
    async with open_rig(
        settings, database, stamps.parent, quick=False, force=True, say=lambda _: None
    ) as rig:
        yield _Client(rig, stamps)


async def _http(client: _Client, *, quick: bool) -> dict[str, Any]:
    """Measure POST /v1/jobs beside a trivial route: the part of `signalstack bench`, as it is."""
    figures = await measure_http(msgspec.structs.replace(client.rig, quick=quick))
    return {figure.name: figure.value for figure in figures}


async def _tenants(client: _Client, count: int) -> dict[str, Any]:
    """Have so many tenants create jobs in turns: 1 is the bench's own one."""
    names = (uuid5(NAMESPACE_OID, f"tenant {number}") for number in range(1, count))
    client.serve_tenants([client.rig.user_id, *names])
    return {}


async def _future(client: _Client, jobs: int, batch: int) -> dict[str, Any]:
    """Store jobs that are due tomorrow."""
    job = JobRequest(type="noop", queue=QUEUE, delay_s=_DAY_S)
    for _ in range(0, jobs, batch):
        await client.rig.enqueue(*[job] * batch)
    return {}


def _become_worker(config: serve.Config) -> None:
    variables = {
        **os.environ,  # noqa: TID251 - it is handed on
        "DATABASE_URL": config.url,
        "SIGNALSTACK_HANDLERS": LOCATION,
        "WORKER_QUEUES": QUEUE,
        "METRICS_PORT": "0",
        "HOST": "127.0.0.1",
    }
    command = [sys.executable, "-m", "signalstack", "worker"]
    os.execve(sys.executable, command, variables)  # noqa: S606 - no shell is wanted


def main() -> None:
    """Be the client or a worker, as the command line says."""
    config = serve.Config(**json.loads(sys.argv[2]))
    if sys.argv[1] == "worker":
        _become_worker(config)
    serve.COMMANDS |= {"http": _http, "future": _future, "tenants": _tenants}
    serve.run(serve.serve(_open, config))


main()
