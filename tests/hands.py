"""A worker for tests that look at what becomes of jobs and not at how."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from recording import RecordingObserver
from signalstack.handlers.noop import NOOP
from signalstack.worker.supervisor import Worker, WorkerOptions
from signalstack.worker.verdict import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

OPTIONS: Final = WorkerOptions(
    name="test",
    queues=(),
    concurrency=2,
    job_timeout_s=10,
    lease_s=30,
    poll_interval_s=60,
    shutdown_timeout_s=5,
    retry=RetryPolicy(base_s=1, max_s=60),
    listen=True,
)


@asynccontextmanager
async def working(dsn: str) -> AsyncGenerator[RecordingObserver]:
    """Run a worker that knows `noop` alone, and learns of work by NOTIFY alone."""
    observer = RecordingObserver()
    worker = Worker(
        dsn,
        {NOOP.name: NOOP},
        observer,
        OPTIONS,
        random.Random(),  # noqa: S311 - lease tokens are no secrets
    )
    shutdown = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(worker.run, shutdown)
        yield observer
        shutdown.set()
