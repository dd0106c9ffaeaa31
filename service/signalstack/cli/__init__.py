"""The command line: each command reads its options, calls what does the work, and prints."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Final

import click

from signalstack import settings as environment
from signalstack.bench.command import bench
from signalstack.cli.keys import keys
from signalstack.cli.outcome import ASKS_FOR_HELP, Group, leave
from signalstack.cli.schema import migrate
from signalstack.cli.seed import seed
from signalstack.cli.service import api, up, worker
from signalstack.cli.trial import demo, doctor
from signalstack.core.errors import SettingsError
from signalstack.telemetry import logs
from signalstack.top.command import top

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS: Final[Sequence[click.Command]] = (
    *(up, api, worker, migrate, keys, seed, doctor, demo, bench, top),
)


def main() -> None:
    """Run the command line."""
    try:
        commands(prog_name="signalstack")
    except SystemExit as end:
        leave(end.code)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(installed_version("signalstack"))
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Event-driven jobs on PostgreSQL; set by environment variables (docs/configuration.md)."""
    try:
        ctx.obj = environment.load()
    except SettingsError:
        if ctx.meta[ASKS_FOR_HELP]:  # who has set something wrong needs it most
            return
        raise
    logs.configure(ctx.obj.log_level, ctx.obj.log_format)


for _command in _COMMANDS:
    commands.add_command(_command)
