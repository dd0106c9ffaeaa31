"""What the demo prints: in words what was done, and a table of the stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from signalstack.demo.show import FURTHER
from signalstack.demo.stopwatch import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from signalstack.demo.show import Shown


def report(shown: Shown, console: Console) -> None:
    """Print what was done and how long each stage took."""
    for line in _tell(shown):
        console.print(line, soft_wrap=True, highlight=False)
    console.print()
    console.print(_tabulate(shown))
    console.print(
        "\nClient, API, worker and receiver shared one process; PostgreSQL had fsync on.\n"
        "Go on with `make up`: it prints a key and a curl line to try.",
        soft_wrap=True,
        highlight=False,
    )


def _tell(shown: Shown) -> Iterator[str]:
    first = shown.first
    yield "POST /v1/events over HTTP → a signed webhook, by way of an embedded PostgreSQL:\n"
    yield f"  event    {first.event_id}   (201: committed)"
    yield f"  job      {first.job_id}   (send_webhook, succeeded)"
    yield f"  webhook  {shown.receiver_url}   (signature verified ✓)"


def _tabulate(shown: Shown) -> Table:
    first, typical = shown.first.journey, shown.typical.journey
    table = Table("stage", title="milliseconds", title_justify="left")
    table.add_column("first", justify="right")
    table.add_column("then", justify="right")
    table.add_column("what happened")
    for stage, meaning in STAGES.items():
        table.add_row(stage, _ms(first.stages[stage]), _ms(typical.stages[stage]), meaning)
    table.add_section()
    table.add_row("answered", _ms(first.answered), _ms(typical.answered), "request → 201")
    table.add_row(
        "received",
        _ms(first.received),
        _ms(typical.received),
        "request → webhook received",
        style="bold",
    )
    table.add_row(
        "settled", _ms(first.settled), _ms(typical.settled), "request → outcome on record"
    )
    table.caption = (
        f"first: the very first event, which also opens connections; then: of {FURTHER} more, "
        "the one that took the median"
    )
    table.caption_justify = "left"
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1_000:.2f}"
