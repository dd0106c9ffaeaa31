"""The command line: each command reads its options, calls what does the work, and prints."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Final, NoReturn

import click

from signalstack import settings as environment
from signalstack.bench.command import bench
from signalstack.cli.audit import audit
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
    *(up, api, worker, migrate, keys, audit, seed, doctor, demo, bench, top),
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
    except SettingsError as error:
        if not ctx.meta[ASKS_FOR_HELP]:
            raise
        ctx.obj = _Unusable(error)  # who has set something wrong needs help most
        return
    logs.configure(ctx.obj.log_level, ctx.obj.log_format)


class _Unusable:
    """Stands for settings that are wrong: a command that reads them after all says why."""

    def __init__(self, error: SettingsError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error


for _command in _COMMANDS:
    commands.add_command(_command)
