"""What every measurement works with: a database, an acceptor, a tenant, and processes on call."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

import anyio
import msgspec

from signalstack import settings as environment
from signalstack import wiring
from signalstack.bench.figure import BenchError
from signalstack.bench.handlers import LOCATION
from signalstack.bench.process import Running, running
from signalstack.core.handler import Registry
from signalstack.core.key import Scope
from signalstack.core.stage import Observer
from signalstack.store import baseline, intake, migrate, users
from signalstack.store.intake import Intake
from signalstack.store.link import Link
from signalstack.store.pool import Pool
from signalstack.usecases import queues
from signalstack.usecases.accept import Acceptor
from signalstack.usecases.keys import create_key
from signalstack.wiring import Database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from signalstack.core.job import JobRequest
    from signalstack.settings import Settings

# A queue and a tenant of its own: the bench's workers touch nobody else's jobs.
QUEUE: Final = "signalstack-bench"
TENANT: Final = "signalstack bench"
_STATEMENT_TIMEOUT_S: Final = 120.0
_IMPORT_S: Final = 30.0


class Rig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a measurement may use; `quick` asks for small counts."""

    database: Database
    pool: Pool
    link: Link
    acceptor: Acceptor
    registry: Registry
    observer: Observer
    user_id: UUID
    key: str
    folder: Path
    variables: dict[str, str]
    quick: bool
    say: Callable[[str], None]

    async def enqueue(
        self, *jobs: JobRequest, traceparent: str | None = None, key: str | None = None
    ) -> None:
        """Enqueue as a request over HTTP would, without the HTTP."""
        await self.acceptor.enqueue(
            self.user_id,
            jobs,
            idempotency_key=key,
            fingerprint=None if key is None else key.encode(),
            traceparent=traceparent,
        )

    async def clear(self) -> None:
        """Make the database as it was before the measurement."""
        async with self.pool.connection() as conn:
            await baseline.clear(conn, user_id=self.user_id)

    @asynccontextmanager
    async def workers(
        self, count: int, *, module: str = "signalstack", **variables: str
    ) -> AsyncGenerator[list[Running]]:
        """Run so many `signalstack worker`, or another module; all of them are ready."""
        arguments = [module, "worker"]
        async with AsyncExitStack() as stack:
            started = [await self._start(stack, arguments, variables) for _ in range(count)]
            for worker in started:
                worker.metrics_url = await worker.until("metrics")
            yield started

    @asynccontextmanager
    async def api(self) -> AsyncGenerator[str]:
        """Run `signalstack api`; gives its base URL."""
        async with AsyncExitStack() as stack:
            process = await self._start(stack, ["signalstack", "api"])
            yield await process.until("API")

    @asynccontextmanager
    async def hearing(self, channel: str, stamps: Path) -> AsyncGenerator[None]:
        """Run a process that takes down when it hears a notification."""
        async with AsyncExitStack() as stack:
            arguments = ["signalstack.bench.hear", channel, str(stamps)]
            process = await self._start(stack, arguments)
            await process.until("ready")
            yield

    async def load(
        self, url: str, request: bytes, *, connections: int, seconds: float, status: int
    ) -> float:
        """Put load on the API from a process of its own; returns answers per second."""
        file = self.folder / "request"
        await anyio.Path(file).write_bytes(request)
        arguments = ["signalstack.bench.load", url, str(file)]
        arguments += [str(connections), str(seconds), str(status)]
        async with AsyncExitStack() as stack:
            process = await self._start(stack, arguments)
            answers = float(await process.until("rate", within_s=seconds + _IMPORT_S))
        if not math.isfinite(answers) or answers <= 0:
            raise BenchError("the API answered nothing in the given time")
        return answers

    async def _start(
        self,
        stack: AsyncExitStack,
        arguments: list[str],
        variables: Mapping[str, str] | None = None,
    ) -> Running:
        errors = self.folder / f"{arguments[-1][:20].replace('/', '_')}.log"
        given = {**self.variables, **(variables or {})}
        return await stack.enter_async_context(running(arguments, given, errors))


@asynccontextmanager
async def open_rig(
    settings: Settings,
    database: Database,
    folder: Path,
    *,
    quick: bool,
    force: bool,
    say: Callable[[str], None],
) -> AsyncGenerator[Rig]:
    """Prepare a database for measuring and leave nothing of that behind.

    Raises:
        BenchError: the database holds live jobs and `force` is not given.
    """
    await migrate.up(database.direct_dsn)
    observer = wiring.make_observer(settings, "bench")
    own = environment.override(settings, SIGNALSTACK_HANDLERS=LOCATION)
    async with Pool(
        database.dsn, observer, statement_timeout_s=_STATEMENT_TIMEOUT_S, lock_timeout_s=30.0
    ) as pool:
        await _refuse_live_jobs(pool, force=force)
        await queues.declare(pool, [QUEUE])
        registry = wiring.build_registry(own)
        key, _ = await create_key(pool, TENANT, list(Scope), env="test")
        async with pool.connection() as conn:
            user_id = await users.find_by_name(conn, name=TENANT)
        if user_id is None:
            raise BenchError("the bench's tenant vanished as soon as it was made")
        link = Link(
            "bench",
            database.direct_dsn,
            (*intake.STATEMENTS, baseline.INSERT, baseline.NOTIFY),
            observer,
            settings=intake.SESSION,
        )
        beside = intake.make_beside(database.direct_dsn, observer)
        async with anyio.create_task_group() as tasks:
            await tasks.start(link.keep)
            await tasks.start(beside.keep)
            rig = Rig(
                database=database,
                pool=pool,
                link=link,
                acceptor=_make_acceptor(
                    settings,
                    pool,
                    Intake(link, observer, beside=beside),
                    registry,
                    observer,
                ),
                registry=registry,
                observer=observer,
                user_id=user_id,
                key=key,
                folder=folder,
                variables=_variables(database),
                quick=quick,
                say=say,
            )
            try:
                yield rig
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(_STATEMENT_TIMEOUT_S):
                    await _tidy(rig)
            tasks.cancel_scope.cancel()


async def postgresql_version(rig: Rig) -> str:
    """Tell the server's version."""
    async with rig.pool.connection() as conn:
        number = conn.info.server_version
    return f"{number // 10_000}.{number % 10_000}"


async def _refuse_live_jobs(pool: Pool, *, force: bool) -> None:
    async with pool.connection() as conn:
        if not force and await baseline.has_live_jobs(conn):
            raise BenchError(
                "this database holds live jobs, which would disturb the figures and be disturbed: "
                "choose another DATABASE_URL, or unset it for an embedded PostgreSQL, or --force"
            )


async def _tidy(rig: Rig) -> None:
    await rig.clear()
    async with rig.pool.connection() as conn:
        await baseline.forget(conn, user_id=rig.user_id, queues=[QUEUE])


def _make_acceptor(
    settings: Settings, pool: Pool, intake: Intake, registry: Registry, observer: Observer
) -> Acceptor:
    return Acceptor(
        pool,
        intake,
        registry,
        observer,
        queues.KnownQueues(pool),
        max_attempts=settings.max_attempts,
    )


def _variables(database: Database) -> dict[str, str]:
    """Say what differs from the environment that the bench itself was given."""
    given: Mapping[str, str] = {
        "DATABASE_URL": database.dsn,
        "LISTEN_DATABASE_URL": database.direct_dsn,
        "SIGNALSTACK_HANDLERS": LOCATION,
        "WORKER_QUEUES": QUEUE,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "METRICS_PORT": "0",
    }
    return dict(given)
