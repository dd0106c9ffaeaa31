"""The command `migrate`: changes the database's schema, or tells its version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from signalstack import wiring
from signalstack.cli.outcome import run
from signalstack.store import migrate as steps
from signalstack.store import migrations

if TYPE_CHECKING:
    from signalstack.settings import Settings


@click.group()
def migrate() -> None:
    """Change the database's schema."""


@migrate.command()
@click.option("--to", type=int, help="Version to stop at; the latest by default.")
@click.pass_obj
def up(settings: Settings, to: int | None) -> None:
    """Apply the migrations that are pending."""

    async def work() -> None:
        database = await wiring.reach_database(settings)
        done = await steps.up(database.direct_dsn, to=to)
        for migration in done:
            click.echo(f"applied {migration.version:04} {migration.name}")
        if not done:
            click.echo("nothing to apply")

    run(work)


@migrate.command()
@click.option("--steps", "count", type=click.IntRange(1), default=1, show_default=True)
@click.pass_obj
def down(settings: Settings, count: int) -> None:
    """Revert the last migrations; what they made is lost."""

    async def work() -> None:
        database = await wiring.reach_database(settings)
        done = await steps.down(database.direct_dsn, steps=count)
        for migration in done:
            click.echo(f"reverted {migration.version:04} {migration.name}")
        if not done:
            click.echo("nothing to revert")

    run(work)


@migrate.command()
@click.pass_obj
def version(settings: Settings) -> None:
    """Tell the schema's version, and what is pending."""

    async def work() -> None:
        database = await wiring.reach_database(settings)
        standing = await steps.version(database.direct_dsn)
        click.echo(f"{standing.current} of {standing.latest}")
        for migration in standing.pending:
            click.echo(f"pending {migration.version:04} {migration.name}")
        for number in standing.unknown:
            click.echo(f"unknown {number:04}: made by a newer build")

    run(work)


@migrate.command()
@click.argument("name")
def create(name: str) -> None:
    """Make the two files of a new migration, in a source checkout."""
    for path in migrations.create(name):
        click.echo(path)
