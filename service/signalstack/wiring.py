"""The composition root: builds the parts from the settings and runs them together."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import msgspec

from signalstack.api.app import create_app
from signalstack.api.parts import Check, Limits
from signalstack.api.parts import Parts as ApiParts
from signalstack.api.rate_limit import RateLimit
from signalstack.api.serve import bind, serve
from signalstack.core.errors import SettingsError
from signalstack.core.handler import Registry
from signalstack.core.message import Pace
from signalstack.core.stage import Observer
from signalstack.handlers import (
    addressee,
    email,
    file,
    message,
    own,
    payment,
    registry,
    report,
    webhook,
)
from signalstack.handlers.noop import NOOP
from signalstack.handlers.outbound import MAX_CONNECTIONS, open_outbound
from signalstack.maintenance.leader import Maintenance
from signalstack.maintenance.schedules import Schedules
from signalstack.settings import Settings
from signalstack.store import embedded, intake, migrate, query, tenancy, watch
from signalstack.store.cache import MessageCache
from signalstack.store.intake import Intake
from signalstack.store.listener import CHANGED, Listener
from signalstack.store.outage import require_readable
from signalstack.store.partitions import Keep
from signalstack.store.pool import Pool, wait_for_database
from signalstack.telemetry import exposition
from signalstack.telemetry.loop_lag import watch_loop
from signalstack.telemetry.observer import Telemetry
from signalstack.usecases import analytics, browse, endpoints, messages, queues, readiness
from signalstack.usecases.accept import Acceptor
from signalstack.usecases.authenticate import Authenticator
from signalstack.usecases.keep_sent import SentKeeper
from signalstack.usecases.tick import Ticker
from signalstack.usecases.wait import LOOK_INTERVAL_S, Watchers
from signalstack.worker.supervisor import Worker, WorkerOptions
from signalstack.worker.verdict import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping
    from pathlib import Path

    from anyio.abc import TaskGroup, TaskStatus
    from starlette.types import ASGIApp

    from signalstack.core.handler import JobType

# What a process opens beside its pool.
MAINTENANCE_CONNECTIONS: Final = 3
API_CONNECTIONS: Final = 2  # intake, and what is beside it
WORKER_CONNECTIONS: Final = 3 + MAINTENANCE_CONNECTIONS  # claim, settle, heartbeat

_CHORE_TIMEOUT_S: Final = 60.0


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """Where PostgreSQL is: `dsn` may lead through a pooler, `direct_dsn` must not."""

    dsn: str
    direct_dsn: str


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """What a process does."""

    api: bool
    worker: bool


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of a process that is to serve, taken before anything else is done."""

    roles: Roles
    api: socket.socket | None
    metrics: exposition.Bound


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running service can be reached; no base URL without an API."""

    base_url: str | None
    metrics_url: str


@asynccontextmanager
async def hold_addresses(settings: Settings, roles: Roles) -> AsyncGenerator[Held]:
    """Take the addresses that the roles will serve at, so that wrong ones are found out first.

    Raises:
        SettingsError: HOST, PORT, METRICS_HOST or METRICS_PORT cannot be used.
    """
    with ExitStack() as stack:
        api = None
        if roles.api:
            api = stack.enter_context(await bind(settings.host, settings.port))
        metrics = exposition.bind(settings.metrics_host, settings.metrics_port)
        stack.callback(metrics.server_close)
        yield Held(roles=roles, api=api, metrics=metrics)


@asynccontextmanager
async def open_database(
    settings: Settings, *, data_dir: Path | None = None, durable: bool = True
) -> AsyncGenerator[Database]:
    """Give the database of DATABASE_URL once it takes connections, else an embedded one.

    Raises:
        UnavailableError: PostgreSQL took no connection in the tries that the settings allow.
        EmbeddedError: the embedded one cannot start.
    """
    if settings.database_url is not None:
        yield await reach_database(settings)
        return
    if data_dir is None:
        is_root = os.geteuid() == 0
        data_dir = embedded.ROOTS_DATA_DIR if is_root else settings.data_home / "signalstack"
    async with embedded.run(data_dir, durable=durable) as server:
        yield Database(dsn=server.dsn, direct_dsn=server.dsn)


def locate_database(settings: Settings) -> Database:
    """Tell where the database of DATABASE_URL is, without asking it.

    Raises:
        SettingsError: DATABASE_URL is not set, or it or LISTEN_DATABASE_URL cannot be read.
    """
    if settings.database_url is None:
        raise SettingsError(
            "DATABASE_URL is not set: it must look like postgresql://user:password@host:5432/name "
            "(only `up`, `demo` and `bench` can do without, on an embedded PostgreSQL)"
        )
    require_readable("DATABASE_URL", settings.database_url)
    if settings.listen_database_url is not None:
        require_readable("LISTEN_DATABASE_URL", settings.listen_database_url)
    return Database(
        dsn=settings.database_url,
        direct_dsn=settings.listen_database_url or settings.database_url,
    )


async def reach_database(settings: Settings) -> Database:
    """Wait until the database of DATABASE_URL takes connections.

    Raises:
        SettingsError: DATABASE_URL is not set, or it or LISTEN_DATABASE_URL cannot be read.
        UnavailableError: it took none in the tries that the settings allow.
    """
    database = locate_database(settings)
    tries = settings.db_connect_retries + 1
    for dsn in dict.fromkeys((database.dsn, database.direct_dsn)):
        await wait_for_database(dsn, retries=tries, delay_s=settings.db_connect_delay_s)
    return database


def build_registry(settings: Settings, on_board: Iterable[JobType] = ()) -> Registry:
    """Put the job types on board and the user's own together."""
    mapping: Mapping[str, object] = own.load(settings.handlers) if settings.handlers else {}
    return registry.build([NOOP, *on_board], mapping)


def make_observer(settings: Settings, role: str) -> Telemetry:
    """Make the one observer of this process."""
    return Telemetry(
        version=version("signalstack"),
        traces="otlp" if settings.traces else "none",
        build={"role": role},
        queues=settings.worker_queues or (),
    )


async def run(
    settings: Settings,
    database: Database,
    held: Held,
    *,
    observer: Telemetry,
    shutdown: anyio.Event,
    task_status: TaskStatus[Addresses] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Run what the addresses are held for until `shutdown` is set and its work is done.

    Started when all of it works.

    Raises:
        SchemaError: the database has not the schema of this build.
        SettingsError: a handler cannot be used, or an address was taken in spite of all.
    """
    async with (
        _serving_metrics(held.metrics, observer) as metrics_port,
        _open_parts(settings, database, observer, shutdown) as (parts, background),
        anyio.create_task_group() as front,
    ):
        worker = await _start_worker(front, background, parts) if held.roles.worker else None
        port = await _start_api(front, background, parts, worker, held.api) if held.api else None
        task_status.started(
            Addresses(
                base_url=None if port is None else _url(settings.host, port),
                metrics_url=_url(settings.metrics_host, metrics_port) + "/metrics",
            )
        )


@asynccontextmanager
async def open_app(
    settings: Settings, database: Database, *, observer: Telemetry
) -> AsyncGenerator[ASGIApp]:
    """Give the API as an ASGI application, for a server that is not ours.

    Raises:
        SchemaError: the database has not the schema of this build.
        SettingsError: METRICS_PORT or a handler cannot be used.
    """
    shutdown = anyio.Event()
    async with (
        hold_addresses(settings, Roles(api=False, worker=False)) as held,
        _serving_metrics(held.metrics, observer),
        _open_parts(settings, database, observer, shutdown) as (parts, background),
    ):
        yield await _build_app(background, parts, None)
        shutdown.set()


def open_pool(settings: Settings, database: Database, observer: Observer) -> Pool:
    """Make the pool for everything but dispatch; open it with `async with`."""
    return Pool(
        database.dsn,
        observer,
        min_size=settings.db_pool_min,
        max_size=settings.db_pool_max,
        # Within the request's own deadline, so that a caller learns what was waited for.
        acquire_timeout_s=settings.request_timeout_s / 2,
        statement_timeout_s=settings.request_timeout_s,
    )


@asynccontextmanager
async def open_admin_pool(settings: Settings, database: Database) -> AsyncGenerator[Pool]:
    """Open a pool for a command that looks or changes a thing and ends; checks the schema."""
    async with open_pool(settings, database, make_observer(settings, "cli")) as pool:
        await _check_schema(pool)
        yield pool


class _Parts(msgspec.Struct, frozen=True):
    """What both roles are built from."""

    settings: Settings
    database: Database
    pool: Pool
    job_types: Registry
    observer: Observer
    shutdown: anyio.Event
    message_cache: MessageCache | None


@asynccontextmanager
async def _serving_metrics(at: exposition.Bound, observer: Telemetry) -> AsyncGenerator[int]:
    port = observer.start(at)
    try:
        yield port
    finally:
        with anyio.CancelScope(shield=True):  # close has a deadline of its own
            await anyio.to_thread.run_sync(observer.close)


@asynccontextmanager
async def _open_parts(
    settings: Settings, database: Database, observer: Observer, shutdown: anyio.Event
) -> AsyncGenerator[tuple[_Parts, TaskGroup]]:
    """Open what both roles use, and the group of what goes on in the background of it."""
    query.preload()
    async with (
        open_pool(settings, database, observer) as pool,
        _open_handlers(settings, pool, observer) as job_types,
        _open_cache(settings, observer) as cache,
        anyio.create_task_group() as background,
    ):
        background.start_soon(watch_loop, observer)
        await _check_schema(pool)
        await messages.set_pace(pool, _pace(settings))
        parts = _Parts(settings, database, pool, job_types, observer, shutdown, cache)
        yield parts, background
        background.cancel_scope.cancel()


@asynccontextmanager
async def _open_handlers(
    settings: Settings, pool: Pool, observer: Observer
) -> AsyncGenerator[Registry]:
    private = settings.webhook_allow_private
    # One for each job that runs: waiting for one would count as the receiver's fault.
    outbound_for = partial(
        open_outbound,
        timeout_s=settings.request_timeout_s,
        max_connections=max(MAX_CONNECTIONS, settings.worker_concurrency),
    )
    async with (
        outbound_for(allow_private=private) as outbound,
        # Of their own: long downloads must not take the deliveries' connections, and where the
        # gateway is was said by the operator and no tenant.
        outbound_for(allow_private=private) as downloads,
        outbound_for(allow_private=True) as gateway,
    ):
        deliver = webhook.build(
            outbound=outbound,
            observer=observer,
            endpoints=addressee.Endpoints(
                find=partial(endpoints.get_for_delivery, pool),
                disable=partial(endpoints.disable, pool),
                failed=partial(endpoints.record_failure, pool),
                recovered=partial(endpoints.clear_failures, pool),
                take=partial(endpoints.take, pool),
                hold=partial(endpoints.hold, pool),
            ),
        )
        on_board = [
            deliver,
            email.build(observer=observer, server=settings.smtp, sender=settings.mail_from),
            payment.build(
                outbound=gateway,
                observer=observer,
                url=settings.payment_gateway_url,
                key=settings.payment_gateway_key,
            ),
            report.build(
                summarise=partial(analytics.summary, pool),
                count=partial(analytics.timeseries, pool),
            ),
            file.build(outbound=downloads, observer=observer),
            message.build(
                outbound=gateway,
                observer=observer,
                hold=partial(messages.hold, pool),
                url=settings.webhook_url,
                key=settings.webhook_auth_key,
                char_limit=settings.message_char_limit,
            ),
        ]
        yield build_registry(settings, on_board)


def _pace(settings: Settings) -> Pace:
    return Pace(
        batch_size=settings.message_batch_size,
        interval_s=settings.message_interval_s,
        workers=settings.message_workers,
    )


@asynccontextmanager
async def _open_cache(
    settings: Settings, observer: Observer
) -> AsyncGenerator[MessageCache | None]:
    if settings.redis_url is None:
        yield None
        return
    async with MessageCache(settings.redis_url, observer) as cache:
        yield cache


async def _check_schema(pool: Pool) -> None:
    async with pool.connection() as conn:
        await migrate.require_current(conn)
        await tenancy.require(conn)


async def _start_worker(front: TaskGroup, background: TaskGroup, parts: _Parts) -> Worker:
    settings = parts.settings
    if settings.worker_queues:
        await queues.declare(parts.pool, settings.worker_queues)
    keeper = SentKeeper(parts.pool, parts.message_cache) if parts.message_cache else None
    worker = Worker(
        parts.database.direct_dsn,
        parts.job_types,
        parts.observer,
        WorkerOptions(
            name=f"{socket.gethostname()}:{os.getpid()}",
            queues=settings.worker_queues or (),
            concurrency=settings.worker_concurrency,
            job_timeout_s=settings.job_timeout_s,
            max_job_timeout_s=settings.max_job_timeout_s,
            lease_s=settings.lease_s,
            poll_interval_s=settings.poll_interval_s,
            shutdown_timeout_s=settings.shutdown_timeout_s,
            retry=RetryPolicy(base_s=settings.retry_base_delay_s, max_s=settings.retry_max_delay_s),
            listen=settings.worker_listen,
        ),
        random.SystemRandom(),  # a lease token that can be foreseen would let a bell be forged
        on_recorded=keeper.note if keeper else None,
    )
    if keeper:
        background.start_soon(keeper.run)
    await front.start(worker.run, parts.shutdown)
    background.start_soon(_keep_house, parts, worker)
    return worker


async def _keep_house(parts: _Parts, worker: Worker) -> None:
    # On connections of its own: its lease must not wait for requests, and a rescue may read long.
    async with Pool(
        parts.database.direct_dsn,
        parts.observer,
        name="signalstack maintenance",
        max_size=MAINTENANCE_CONNECTIONS,
        statement_timeout_s=_CHORE_TIMEOUT_S,
        gauged=False,
    ) as pool:
        settings = parts.settings
        keep = Keep(
            succeeded_s=settings.retention_succeeded_s,
            failed_s=settings.retention_failed_s,
            cancelled_s=settings.retention_cancelled_s,
            events_s=settings.retention_events_s,
            messages_s=settings.retention_messages_s,
        )
        ticker = Ticker(pool, parts.job_types, parts.observer, max_attempts=settings.max_attempts)
        loops = [Schedules(ticker, parts.observer).run]
        maintenance = Maintenance(pool, parts.observer, keep=keep, loops=loops)
        worker.on_vacant = maintenance.stand
        await maintenance.run()


async def _start_api(
    front: TaskGroup,
    background: TaskGroup,
    parts: _Parts,
    worker: Worker | None,
    at: socket.socket,
) -> int:
    app = await _build_app(background, parts, worker)
    return await front.start(partial(serve, app, at=at, shutdown=parts.shutdown))


async def _build_app(background: TaskGroup, parts: _Parts, worker: Worker | None) -> ASGIApp:
    settings, pool = parts.settings, parts.pool
    watchers = Watchers(pool, lambda user_id, job_id: watch.outcome(listener.link, user_id, job_id))
    listener = Listener(
        parts.database.direct_dsn,
        parts.observer,
        name="intake",
        channels=(CHANGED,),
        on_notify=watchers.heard,
        on_up=watchers.look,
        statements=(*intake.STATEMENTS, *watch.STATEMENTS),
        settings=intake.SESSION,
    )
    beside = intake.make_beside(parts.database.direct_dsn, parts.observer)
    await background.start(listener.run)
    background.start_soon(beside.keep)
    background.start_soon(watchers.run, parts.shutdown)
    known_queues = queues.KnownQueues(pool)
    acceptor = Acceptor(
        pool,
        Intake(listener.link, parts.observer, beside=beside),
        parts.job_types,
        parts.observer,
        known_queues,
        max_attempts=settings.max_attempts,
        max_timeout_s=settings.max_job_timeout_s,
    )
    return create_app(
        ApiParts(
            pool=pool,
            acceptor=acceptor,
            authenticator=Authenticator(pool),
            queues=known_queues,
            watchers=watchers,
            observer=parts.observer,
            registry=parts.job_types,
            cursors=await browse.load_cursors(pool),
            readiness=_readiness(parts, listener, worker),
            limits=Limits(
                max_body_bytes=settings.max_body_bytes,
                request_timeout_s=settings.request_timeout_s,
            ),
            allow_private=settings.webhook_allow_private,
            rate_limit=RateLimit(settings.rate_limit) if settings.rate_limit else None,
            message_cache=parts.message_cache,
        )
    )


def _readiness(parts: _Parts, listener: Listener, worker: Worker | None) -> dict[str, Check]:
    dsn, poll_s = parts.database.dsn, parts.settings.poll_interval_s

    async def check_listener() -> str | None:
        return readiness.describe_listener(listener.fault, poll_interval_s=LOOK_INTERVAL_S)

    async def check_worker() -> str | None:
        fault = worker.fault if worker is not None else None
        return readiness.describe_listener(fault, poll_interval_s=poll_s)

    checks: dict[str, Check] = {
        "postgresql": partial(readiness.check_postgresql, parts.pool, dsn),
        "schema": partial(readiness.check_schema, parts.pool),
        "listener": check_listener,
    }
    return checks if worker is None else {**checks, "worker_listener": check_worker}


def _url(host: str, port: int) -> str:
    """Make a URL that works where the service runs."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - it is compared
    return (
        f"http://[{shown}]:{port}" if ":" in shown and shown[0] != "[" else f"http://{shown}:{port}"
    )
