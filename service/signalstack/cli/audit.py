"""The command `audit`: shows who did what to keys and configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from signalstack import wiring
from signalstack.cli.outcome import run
from signalstack.core.duration import parse_duration
from signalstack.usecases import review

if TYPE_CHECKING:
    from signalstack.settings import Settings


_MOST: Final = 10_000


@click.command()
@click.option("--user", help="Tenant whose log is wanted; all by default.")
@click.option("--since", help="How far back, as in 90m or 24h; all by default.")
@click.option("--limit", type=click.IntRange(1, _MOST), default=100, show_default=True)
@click.pass_obj
def audit(settings: Settings, user: str | None, since: str | None, limit: int) -> None:
    """Show who did what to keys, endpoints, subscriptions, schedules and queues, newest first."""
    since_s = None if since is None else _seconds(since)

    async def work() -> None:
        database = await wiring.reach_database(settings)
        async with wiring.open_admin_pool(settings, database) as pool:
            acts = await review.list_acts(pool, user, since_s=since_s, limit=limit + 1)
        for act in acts[:limit]:
            columns = f"  ({', '.join(act.columns)})" if act.columns else ""
            click.echo(
                f"{act.at:%Y-%m-%dT%H:%M:%SZ}  {act.actor}  {act.act}  {act.object}"
                f"  of {act.user_name or 'the operator'}{columns}"
            )
        if len(acts) > limit:
            more = f"--limit shows more (up to {_MOST}), " if limit < _MOST else ""
            click.echo(
                f"these are the newest {limit}: {more}--since and --user narrow them down", err=True
            )

    run(work)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None
