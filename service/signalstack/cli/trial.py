"""The commands that show whether it works here: `doctor` on a database."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from signalstack.cli.outcome import FAILED, run
from signalstack.doctor import checkup
from signalstack.doctor.finding import Verdict

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
