"""The command `top`: looks at its targets again and again, and shows what it sees."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc
import click
from rich.console import Console
from rich.live import Live

from signalstack.core.duration import format_duration
from signalstack.core.errors import SignalStackError
from signalstack.core.variable import duration
from signalstack.top.lookout import Lookout
from signalstack.top.picture import draw
from signalstack.top.target import Target
from signalstack.top.view import render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from signalstack.settings import Settings

PLAIN_WIDTH: Final = 120
_interval: Final = duration("200ms", "1m")


class NoAnswerError(SignalStackError):
    """`top --once` found nobody."""


class _Parsed(click.ParamType[object]):
    """An option that a function reads; its ValueError is what the user is told."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Read what was given (click's protocol)."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r}: it {error}", param, ctx)


@click.command()
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=_Parsed("host:port", Target.parse),
    help="Where a process serves /metrics; may be given several times. By default the one of "
    "METRICS_HOST and METRICS_PORT.",
)
@click.option(
    "--interval",
    "interval_s",
    default="1s",
    show_default=True,
    type=_Parsed("duration", _interval),
    help="Time between two looks.",
)
@click.option("--once", is_flag=True, help="Look twice, print what happened in between, and end.")
@click.pass_obj
def top(settings: Settings, *, targets: Sequence[Target], interval_s: float, once: bool) -> None:
    """Watch running processes: queues, rates, latency, workers; from their /metrics alone."""
    if not targets:
        if not settings.metrics_port:
            raise click.UsageError("METRICS_PORT is 0, so say where to look: --target HOST:PORT")
        targets = (Target.local(settings.metrics_host, settings.metrics_port),)
    wanted = list(dict.fromkeys(targets))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    if not anyio.run(partial(_watch, wanted, interval_s, console, once=once)):
        raise NoAnswerError("no target answered")


async def _watch(
    targets: Sequence[Target], interval_s: float, console: Console, *, once: bool
) -> bool:
    """Show frame after frame until a signal; `once`: the first that has rates.

    Tell whether any target answered the last look.
    """
    answered = True
    live = not once and console.is_terminal
    async with anyio.create_task_group() as tasks:
        await tasks.start(_until_signal, tasks.cancel_scope)
        async with Lookout(targets, patience_s=max(interval_s, 1.0)) as lookout:
            screen = Live(console=console, screen=True, auto_refresh=False) if live else None
            with screen or nullcontext():
                answered = await _show(lookout, interval_s, console, screen, once=once)
        tasks.cancel_scope.cancel()
    return answered


async def _show(
    lookout: Lookout, interval_s: float, console: Console, screen: Live | None, *, once: bool
) -> bool:
    due = anyio.current_time()
    first = True
    while True:
        glances = await lookout.look()
        picture = draw(glances, now_s=time.time())
        title = f"every {format_duration(interval_s)}  {datetime.now().astimezone():%H:%M:%S}"
        height = console.height if screen is not None else None
        frame = render(picture, title=title, width=console.width, height=height)
        if screen is not None:
            screen.update(frame, refresh=True)
        elif not first:
            console.print(frame)
        if once and not first:
            return any(glance.reading for glance in glances)
        first = False
        # Looks keep their rhythm; those that a slow target made us miss are left out.
        due = max(due + interval_s, anyio.current_time())
        await anyio.sleep_until(due)


async def _until_signal(
    scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
