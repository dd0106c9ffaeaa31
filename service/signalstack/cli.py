"""The command line: each command reads its options, calls what does the work, and prints."""

from __future__ import annotations

import signal
import sys
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import click
import msgspec

from signalstack import settings as environment
from signalstack import wiring
from signalstack.core.errors import SettingsError, SignalStackError
from signalstack.core.key import Scope
from signalstack.store import migrate, migrations
from signalstack.telemetry import logs
from signalstack.usecases import keys
from signalstack.wiring import Addresses, Roles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from signalstack.settings import Settings

FAILED: Final = 1
WRONG: Final = 2
FIRST_USER: Final = "default"

_DATA_DIR: Final = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the embedded PostgreSQL; unused when DATABASE_URL is set.",
)


class _Group(click.Group):
    """Turns our errors into a sentence and an exit code: 1 it failed, 2 wrong settings."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BaseException as error:
            known = _known(error)
            if known is None:
                raise
            click.echo(f"signalstack: {known}", err=True)
            sys.exit(WRONG if isinstance(known, SettingsError) else FAILED)


def main() -> None:
    """Run the command line."""
    commands(prog_name="signalstack")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(installed_version("signalstack"))
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Event-driven jobs on PostgreSQL; set by environment variables (docs/configuration.md)."""
    ctx.obj = environment.load()
    logs.configure(ctx.obj.log_level, ctx.obj.log_format)


@commands.command()
@_DATA_DIR
@click.pass_obj
def up(settings: Settings, data_dir: Path | None) -> None:
    """Run API and worker in one process, on DATABASE_URL or an embedded PostgreSQL."""

    async def run() -> None:
        async with wiring.open_database(settings, data_dir=data_dir) as database:
            await migrate.up(database.direct_dsn)
            key = await _first_key(settings, database)
            await _serve(settings, database, Roles(api=True, worker=True), "up", key)

    _run(run)


@commands.command()
@click.pass_obj
def api(settings: Settings) -> None:
    """Run the HTTP API alone."""
    _run(partial(_serve_alone, settings, Roles(api=True, worker=False), "api"))


@commands.command()
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
    _run(partial(_serve_alone, changed, Roles(api=False, worker=True), "worker"))


@commands.group(name="migrate")
def migrate_() -> None:
    """Change the database's schema."""


@migrate_.command(name="up")
@click.option("--to", type=int, help="Version to stop at; the latest by default.")
@click.pass_obj
def migrate_up(settings: Settings, to: int | None) -> None:
    """Apply the migrations that are pending."""

    async def run() -> None:
        database = await wiring.reach_database(settings)
        done = await migrate.up(database.direct_dsn, to=to)
        for migration in done:
            click.echo(f"applied {migration.version:04} {migration.name}")
        if not done:
            click.echo("nothing to apply")

    _run(run)


@migrate_.command(name="down")
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True)
@click.pass_obj
def migrate_down(settings: Settings, steps: int) -> None:
    """Revert the last migrations; what they made is lost."""

    async def run() -> None:
        database = await wiring.reach_database(settings)
        for migration in await migrate.down(database.direct_dsn, steps=steps):
            click.echo(f"reverted {migration.version:04} {migration.name}")

    _run(run)


@migrate_.command(name="version")
@click.pass_obj
def migrate_version(settings: Settings) -> None:
    """Tell the schema's version, and what is pending."""

    async def run() -> None:
        database = await wiring.reach_database(settings)
        standing = await migrate.version(database.direct_dsn)
        click.echo(f"{standing.current} of {standing.latest}")
        for migration in standing.pending:
            click.echo(f"pending {migration.version:04} {migration.name}")
        for number in standing.unknown:
            click.echo(f"unknown {number:04}: made by a newer build")

    _run(run)


@migrate_.command(name="create")
@click.argument("name")
def migrate_create(name: str) -> None:
    """Make the two files of a new migration, in a source checkout."""
    for path in migrations.create(name):
        click.echo(path)


@commands.group(name="keys")
def keys_() -> None:
    """Hand out API keys."""


@keys_.command(name="create")
@click.option("--user", required=True, help="Tenant that the key is for; made when new.")
@click.option("--scopes", default="read,write", show_default=True, help="Of read, write and admin.")
@click.pass_obj
def keys_create(settings: Settings, user: str, scopes: str) -> None:
    """Make a key and print it: the only time that it is shown."""

    async def run() -> None:
        database = await wiring.reach_database(settings)
        async with wiring.open_admin_pool(settings, database) as pool:
            token, info = await keys.create_key(pool, user, _scopes(scopes))
        click.echo(
            f"key {info.id} of {info.user_name} ({', '.join(sorted(info.scopes))}):", err=True
        )
        click.echo(token)

    _run(run)


@keys_.command(name="list")
@click.pass_obj
def keys_list(settings: Settings) -> None:
    """List all keys; secrets are not kept and so not shown."""

    async def run() -> None:
        database = await wiring.reach_database(settings)
        async with wiring.open_admin_pool(settings, database) as pool:
            for info in await keys.list_keys(pool):
                state = "revoked" if info.revoked_at else "active"
                scopes = ",".join(sorted(info.scopes))
                click.echo(
                    f"{info.id}  {state:8}{scopes:18}{info.created_at:%Y-%m-%d}  {info.user_name}"
                )

    _run(run)


@keys_.command(name="revoke")
@click.argument("key_id", metavar="ID")
@click.pass_obj
def keys_revoke(settings: Settings, key_id: str) -> None:
    """Revoke a key; running processes refuse it within ten seconds."""

    async def run() -> None:
        database = await wiring.reach_database(settings)
        async with wiring.open_admin_pool(settings, database) as pool:
            info = await keys.revoke_key(pool, key_id)
        click.echo(f"revoked {info.id} of {info.user_name}")

    _run(run)


def _run(work: Callable[[], Awaitable[None]]) -> None:
    anyio.run(work, backend_options={"use_uvloop": sys.platform == "linux"})


async def _serve_alone(settings: Settings, roles: Roles, role: str) -> None:
    database = await wiring.reach_database(settings)
    await _serve(settings, database, roles, role, None)


async def _serve(
    settings: Settings, database: wiring.Database, roles: Roles, role: str, key: str | None
) -> None:
    shutdown = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(_until_signal, shutdown)
        observer = wiring.make_observer(settings, role)
        start = partial(wiring.run, settings, database, roles, observer=observer, shutdown=shutdown)
        async with anyio.create_task_group() as service:
            addresses = cast("Addresses", await service.start(start))
            _announce(addresses, database, key)
        tasks.cancel_scope.cancel()


async def _until_signal(shutdown: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Ask for an orderly end at the first signal, and end at once at the second."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if shutdown.is_set():
                sys.exit(128 + number)
            click.echo("stopping: running work may finish (again: stop at once)", err=True)
            shutdown.set()


def _announce(addresses: Addresses, database: wiring.Database, key: str | None) -> None:
    if addresses.base_url is not None:
        click.echo(f"API      {addresses.base_url}")
    click.echo(f"metrics  {addresses.metrics_url}")
    if key is not None and addresses.base_url is not None:
        click.echo(f"database {database.dsn}")
        click.echo(f"API key  {key}   (of tenant {FIRST_USER!r}; shown only now)")
        click.echo("\nTry it:\n")
        click.echo(
            f"curl -s {addresses.base_url}/v1/jobs -H 'Authorization: Bearer {key}' "
            "-H 'Content-Type: application/json' "
            """-d '{"type": "noop", "payload": {"hello": "world"}}'"""
        )
        click.echo()
    sys.stdout.flush()


async def _first_key(settings: Settings, database: wiring.Database) -> str | None:
    """Make a key when there is none yet."""
    async with wiring.open_admin_pool(settings, database) as pool:
        if await keys.list_keys(pool):
            return None
        token, _ = await keys.create_key(pool, FIRST_USER, list(Scope))
        return token


def _scopes(text: str) -> list[Scope]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        return msgspec.convert(names, list[Scope])
    except msgspec.ValidationError:
        known = ", ".join(Scope)
        raise click.BadParameter(f"{text!r}: scopes are {known}", param_hint="--scopes") from None


def _known(error: BaseException) -> SignalStackError | None:
    """Find our own error, alone or as the only one in groups of tasks."""
    while isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        if len(inner) != 1:
            return None
        error = inner[0]
    return error if isinstance(error, SignalStackError) else None
