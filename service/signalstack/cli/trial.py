"""The commands that show whether it works here: `doctor` on a database, `demo` on its own."""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from rich.console import Console

from signalstack.cli.outcome import FAILED, run
from signalstack.demo.report import report
from signalstack.demo.show import show
from signalstack.doctor import checkup
from signalstack.doctor.finding import Verdict
from signalstack.telemetry import logs

if TYPE_CHECKING:
    from signalstack.settings import Settings


@click.command()
@click.pass_obj
def doctor(settings: Settings) -> None:
    """Check whether the database of DATABASE_URL is fit: a line a check, a remedy a fault."""
    findings = run(partial(checkup.examine, settings))
    for finding in findings:
        click.echo(f"{finding.verdict:8} {finding.check:13} {finding.says}")
    faults = sum(finding.verdict is Verdict.FAULT for finding in findings)
    click.echo(f"{faults} fault{'' if faults == 1 else 's'}")
    if faults:
        sys.exit(FAILED)


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where to make the database for the time being; by default where temporary files go.",
)
@click.pass_obj
def demo(settings: Settings, data_dir: Path | None) -> None:
    """Send one real event to a webhook and time each stage, on a PostgreSQL of its own."""
    log = io.StringIO()  # of interest only when something fails
    logs.configure(cast("logs.Level", settings.log_level), "console", log)
    try:
        shown = run(partial(show, settings, data_dir))
    except BaseException:
        click.echo(log.getvalue(), err=True, nl=False)
        raise
    report(shown, Console())
