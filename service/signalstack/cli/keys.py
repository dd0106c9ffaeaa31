"""The command `keys`: hands out API keys."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

import click
import msgspec

from signalstack import wiring
from signalstack.cli.outcome import run
from signalstack.core.actor import acting
from signalstack.core.key import Scope
from signalstack.usecases import keys as acts

if TYPE_CHECKING:
    from signalstack.settings import Settings


@click.group()
def keys() -> None:
    """Hand out API keys."""


@keys.command()
@click.option("--user", required=True, help="Tenant that the key is for; made when new.")
@click.option("--scopes", default="read,write", show_default=True, help="Of read, write and admin.")
@click.pass_obj
def create(settings: Settings, user: str, scopes: str) -> None:
    """Make a key and print it: the only time that it is shown."""
    wanted = _scopes(scopes)

    async def work() -> None:
        database = await wiring.reach_database(settings)
        async with wiring.open_admin_pool(settings, database) as pool:
            with acting(_me()):
                token, info = await acts.create_key(pool, user, wanted)
        click.echo(
            f"key {info.id} of {info.user_name} ({', '.join(sorted(info.scopes))}):", err=True
        )
        click.echo(token)

    run(work)


@keys.command(name="list")
@click.pass_obj
def list_(settings: Settings) -> None:
    """List all keys; secrets are not kept and so not shown."""

    async def work() -> None:
        database = await wiring.reach_database(settings)
        async with wiring.open_admin_pool(settings, database) as pool:
            for info in await acts.list_keys(pool):
                state = "revoked" if info.revoked_at else "active"
                scopes = ",".join(sorted(info.scopes))
                click.echo(
                    f"{info.id}  {state:8}{scopes:18}{info.created_at:%Y-%m-%d}  {info.user_name}"
                )

    run(work)


@keys.command()
@click.argument("key_id", metavar="ID")
@click.pass_obj
def revoke(settings: Settings, key_id: str) -> None:
    """Revoke a key; running processes refuse it within ten seconds."""

    async def work() -> None:
        database = await wiring.reach_database(settings)
        async with wiring.open_admin_pool(settings, database) as pool:
            with acting(_me()):
                info = await acts.revoke_key(pool, key_id)
        click.echo(f"revoked {info.id} of {info.user_name}")

    run(work)


def _me() -> str:
    """Name who sits at the command line; a container's user may have no name."""
    try:
        return f"cli {getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli uid {os.getuid()}"


def _scopes(text: str) -> list[Scope]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        return msgspec.convert(names, list[Scope])
    except msgspec.ValidationError:
        known = ", ".join(Scope)
        raise click.BadParameter(f"{text!r}: scopes are {known}", param_hint="--scopes") from None
