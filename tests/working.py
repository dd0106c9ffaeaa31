"""Workers under test: enqueue over a real intake, run one, and wait for what it does."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import anyio
import msgspec

from recording import RecordingObserver
from signalstack.core.ids import new_id
from signalstack.core.job import NewJob, Outcome
from signalstack.core.stage import Finished, Settled
from signalstack.handlers import registry
from signalstack.handlers.noop import NOOP
from signalstack.store import chores
from signalstack.store.intake import SESSION, STATEMENTS, Intake
from signalstack.store.link import Link
from signalstack.store.pool import Pool
from signalstack.store.writes import Write
from signalstack.worker.supervisor import Worker, WorkerOptions
from signalstack.worker.verdict import RetryPolicy
from tenants import make_tenant

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from psycopg.rows import DictRow

    from signalstack.core.handler import JobType
    from signalstack.store.writes import Receipt

# So rare that a test which needs the poll without meaning to does not pass.
NEVER_S: Final = 300.0
POLL_S: Final = 0.2
# After a start of PostgreSQL nobody is taken for dead; a negative time is none.
_UNTIL_RESCUES: Final = """
    SELECT pg_sleep(extract(EPOCH FROM
        pg_postmaster_start_time() + interval '3.1 seconds' - clock_timestamp()
    ))
"""
_ENOUGH_S: Final = 20.0
_TERMINAL: Final = (Outcome.SUCCEEDED, Outcome.FAILED)


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended, as the database has it."""

    status: str
    attempt: int
    max_attempts: int
    wake: str
    last_error: str | None
    result: Any
    worker_id: UUID | None


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A run that did not end its job."""

    attempt: int
    outcome: str
    error: str | None
    wake: str


class Crew:
    """A worker at work and the facts that it told."""

    def __init__(self, worker: Worker, facts: RecordingObserver, shop: Shop) -> None:
        self.worker = worker
        self.facts = facts
        self._shop = shop
        self.shutdown = anyio.Event()
        self.stopped = anyio.Event()

    async def stop(self) -> None:
        """End it in order."""
        self.shutdown.set()
        with anyio.fail_after(_ENOUGH_S):
            await self.stopped.wait()

    async def ended(self, job: UUID) -> Finished:
        """Wait until this worker has ended a job and that is recorded.

        A run that was handed back may begin anew, and end, before the worker hears that the first
        one is settled: which run a Settled speaks of only the table can tell.
        """
        while True:
            settled = len(self.facts.facts(Settled, jobs=job))
            last = self._last_word(job)
            if settled and last is not None and await self._shop.has_finished(job):
                return last
            await self.facts.seen(Settled, jobs=job, count=settled + 1, timeout_s=_ENOUGH_S)

    def _last_word(self, job: UUID) -> Finished | None:
        ends = [fact for fact in self.facts.facts(Finished, job=job) if fact.outcome in _TERMINAL]
        return ends[-1] if ends else None


class Shop:
    """A database with a tenant, a way in, and any number of workers."""

    def __init__(self, dsn: str, pool: Pool, intake: Intake, user_id: UUID) -> None:
        self.dsn = dsn
        self.pool = pool
        self.user_id = user_id
        self._intake = intake

    def of(self, user_id: UUID) -> Shop:
        """Give the same shop to another tenant."""
        return Shop(self.dsn, self.pool, self._intake, user_id)

    async def enqueue(self, type_: str, payload: object = None, **given: Any) -> UUID:
        """Commit one job and return its id."""
        return (await self.enqueue_many(type_, [payload], **given))[0]

    async def enqueue_many(self, type_: str, payloads: list[object], **given: Any) -> list[UUID]:
        """Commit jobs in one transaction and return their ids."""
        settings: dict[str, Any] = {"max_attempts": 3} | given
        jobs = [
            NewJob(id=new_id(), type=type_, payload=msgspec.json.encode(payload), **settings)
            for payload in payloads
        ]
        await self.submit(Write(user_id=self.user_id, jobs=jobs))
        return [job.id for job in jobs]

    async def submit(self, write: Write) -> Receipt:
        """Commit a write."""
        return await self._intake.submit(write)

    async def ran(self, job: UUID) -> Ran:
        """Look at a job that is over; it must stand among the finished ones alone."""
        (row,) = await self.rows(
            "SELECT status, attempt, max_attempts, wake, last_error, result, worker_id"
            " FROM signalstack.finished_jobs WHERE id = %s",
            job,
        )
        assert not await self.rows("SELECT id FROM signalstack.jobs WHERE id = %s", job)
        return msgspec.convert(row, Ran)

    async def past(self, job: UUID) -> list[Past]:
        """List the runs of a job before its last one."""
        rows = await self.rows(
            "SELECT attempt, outcome, error, wake FROM signalstack.attempts"
            " WHERE job_id = %s ORDER BY attempt",
            job,
        )
        return msgspec.convert(rows, list[Past])

    async def has_finished(self, job: UUID) -> bool:
        """Tell whether a job stands among the finished ones."""
        return bool(await self.rows("SELECT id FROM signalstack.finished_jobs WHERE id = %s", job))

    async def rows(self, query: str, *parameters: object) -> list[DictRow]:
        """Ask the database."""
        async with self.pool.connection() as conn:
            cursor = await conn.execute(query.encode(), parameters)
            return await cursor.fetchall() if cursor.description else []

    async def kill(self, name: str) -> int:
        """End the backends of connections of this name; returns how many there were."""
        found = await self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            f"signalstack {name}",
        )
        return len(found)

    async def bury(self, worker_id: UUID) -> None:
        """Let a worker's lease run out and rescue what it had, as the maintenance leader would."""
        await self.rows(_UNTIL_RESCUES)
        await self.rows(
            "UPDATE signalstack.workers SET lease_until = now() - interval '1 s' WHERE id = %s",
            worker_id,
        )
        async with self.pool.connection() as conn:
            await chores.rescue(conn, orphans=False)

    async def bury_unseen(self, worker_id: UUID) -> None:
        """Rescue what a worker has; a heartbeat that comes in between only asks for another try."""
        with anyio.fail_after(_ENOUGH_S):
            while await self.rows("SELECT id FROM signalstack.workers WHERE id = %s", worker_id):
                await self.bury(worker_id)

    async def worker_of(self, job: UUID) -> UUID:
        """Tell who has a job leased."""
        (row,) = await self.rows("SELECT worker_id FROM signalstack.jobs WHERE id = %s", job)
        return msgspec.convert(row["worker_id"], UUID)

    @asynccontextmanager
    async def worker(
        self,
        handlers: Mapping[str, object],
        *,
        on_board: Sequence[JobType] = (NOOP,),
        facts: RecordingObserver | None = None,
        **options: Any,
    ) -> AsyncGenerator[Crew]:
        """Run a worker for as long as the context lasts; `options` as for WorkerOptions."""
        listen = options.get("listen", True)
        settings: dict[str, Any] = {
            "name": "test",
            "queues": (),
            "concurrency": 4,
            "job_timeout_s": 10.0,
            "lease_s": 30.0,
            "poll_interval_s": NEVER_S if listen else POLL_S,
            "shutdown_timeout_s": 5.0,
            "retry": RetryPolicy(base_s=0.02, max_s=0.05),
            "listen": listen,
        }
        facts = facts or RecordingObserver()
        worker = Worker(
            self.dsn,
            registry.build(on_board, handlers),
            facts,
            WorkerOptions(**settings | options),
            random.Random(),  # noqa: S311 - lease tokens of two workers must differ
        )
        crew = Crew(worker, facts, self)
        async with anyio.create_task_group() as tasks:
            with anyio.fail_after(_ENOUGH_S):
                await tasks.start(_run, crew)
            yield crew
            await crew.stop()


@asynccontextmanager
async def open_shop(dsn: str) -> AsyncGenerator[Shop]:
    """Open the way in."""
    observer = RecordingObserver()
    link = Link("test", dsn, STATEMENTS, observer, settings=SESSION)
    async with Pool(dsn, observer) as pool, anyio.create_task_group() as tasks:
        await tasks.start(link.keep)
        yield Shop(dsn, pool, Intake(link, observer), await make_tenant(pool))
        tasks.cancel_scope.cancel()


async def _run(crew: Crew, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    try:
        await crew.worker.run(crew.shutdown, task_status=task_status)
    finally:
        crew.stopped.set()
