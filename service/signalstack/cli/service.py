"""The commands that serve until they are stopped: `up`, `api` and `worker`."""

from __future__ import annotations

import gc
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import anyio
import anyio.abc
import click

from signalstack import settings as environment
from signalstack import wiring
from signalstack.cli.outcome import StoppedError, run
from signalstack.cli.watchdog import guard
from signalstack.core.key import Scope
from signalstack.store import migrate
from signalstack.usecases import keys
from signalstack.wiring import Roles

if TYPE_CHECKING:
    from signalstack.settings import Settings
    from signalstack.wiring import Addresses, Database, Held

FIRST_USER: Final = "default"
# The longest that a start goes on when it is not wanted any more.
_START_S: Final = 5.0
_NEW_OBJECTS: Final = 20_000


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the embedded PostgreSQL; unused when DATABASE_URL is set.",
)
@click.pass_obj
def up(settings: Settings, data_dir: Path | None) -> None:
    """Run API and worker in one process, on DATABASE_URL or an embedded PostgreSQL."""

    async def work() -> None:
        async with (
            wiring.hold_addresses(settings, Roles(api=True, worker=True)) as held,
            wiring.open_database(settings, data_dir=data_dir) as database,
        ):
            await migrate.up(database.direct_dsn)
            await _serve(settings, database, held, "up")

    run(work)


@click.command()
@click.pass_obj
def api(settings: Settings) -> None:
    """Run the HTTP API alone."""
    run(partial(_serve_alone, settings, Roles(api=True, worker=False), "api"))


@click.command()
@click.option("--queues", help="Queues to serve, parted by commas; all of them by default.")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Jobs run at once.")
@click.pass_obj
def worker(settings: Settings, queues: str | None, concurrency: int | None) -> None:
    """Run a worker; it also stands for maintenance leader."""
    changed = environment.override(
        settings,
        WORKER_QUEUES=queues,
        WORKER_CONCURRENCY=None if concurrency is None else str(concurrency),
    )
    run(partial(_serve_alone, changed, Roles(api=False, worker=True), "worker"))


async def _serve_alone(settings: Settings, roles: Roles, role: str) -> None:
    async with wiring.hold_addresses(settings, roles) as held:
        database = await wiring.reach_database(settings)
        await _serve(settings, database, held, role)


async def _serve(settings: Settings, database: Database, held: Held, role: str) -> None:
    shutdown = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(_until_signal, shutdown)
        if settings.watchdog_timeout_s:
            tasks.start_soon(guard, settings.watchdog_timeout_s)
        observer = wiring.make_observer(settings, role)
        start = partial(wiring.run, settings, database, held, observer=observer, shutdown=shutdown)
        async with anyio.create_task_group() as service:
            begun = anyio.Event()
            grace_s = min(settings.shutdown_timeout_s, _START_S)
            tasks.start_soon(_give_up, shutdown, grace_s, begun, service.cancel_scope)
            addresses = cast("Addresses", await service.start(start))
            # Not before everything serves: what ends earlier would have made it and never told.
            key = await _first_key(settings, database) if role == "up" else None
            _spare_collections()
            _announce(addresses, None if settings.database_url else database.dsn, key)
            begun.set()
        tasks.cancel_scope.cancel()


def _spare_collections() -> None:
    """Look for cycles among new objects less often, and never among those that are there to stay.

    That was a fifteenth of what a busy worker did, and what we make for a job has no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


async def _until_signal(shutdown: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Ask for an orderly end at the first signal, and end at once at the second."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if shutdown.is_set():
                raise StoppedError(number)
            click.echo("stopping: running work may finish (again: stop at once)", err=True)
            shutdown.set()


async def _give_up(
    shutdown: anyio.Event, grace_s: float, begun: anyio.Event, service: anyio.CancelScope
) -> None:
    """End a start that does not come to its end; what a worker of it runs by then is rescued."""
    await shutdown.wait()
    if not begun.is_set():
        with anyio.move_on_after(grace_s):
            await begun.wait()
    if not begun.is_set():
        service.cancel()


def _announce(addresses: Addresses, embedded_dsn: str | None, key: str | None) -> None:
    if addresses.base_url is not None:
        click.echo(f"API      {addresses.base_url}")
    click.echo(f"metrics  {addresses.metrics_url}")
    if embedded_dsn is not None:
        click.echo(f"database {embedded_dsn}")
    if key is not None and addresses.base_url is not None:
        click.echo(f"API key  {key}   (of tenant {FIRST_USER!r}; shown only now)")
        click.echo("\nTry it:\n")
        click.echo(
            f"curl -s {addresses.base_url}/v1/jobs -H 'Authorization: Bearer {key}' "
            "-H 'Content-Type: application/json' "
            """-d '{"type": "noop", "payload": {"hello": "world"}}'"""
        )
        click.echo()
    sys.stdout.flush()


async def _first_key(settings: Settings, database: Database) -> str | None:
    """Make a key when there is none yet."""
    async with wiring.open_admin_pool(settings, database) as pool:
        if await keys.list_keys(pool):
            return None
        token, _ = await keys.create_key(pool, FIRST_USER, list(Scope))
        return token
