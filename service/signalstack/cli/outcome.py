"""How a command runs and ends: on uvloop, with a sentence and an exit code when it fails."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, cast

import anyio
import click

from signalstack.core.errors import SettingsError, SignalStackError, find_ours

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FAILED: Final = 1
WRONG: Final = 2
ASKS_FOR_HELP: Final = "signalstack.asks_for_help"

Result = TypeVar("Result")


class StoppedError(SignalStackError):
    """Who asked for an end asked again: everything is left at once."""

    def __init__(self, number: int) -> None:
        """Make one for a signal, whose number the exit code tells as a shell does."""
        super().__init__("stopped at once")
        self.code = 128 + number


class Group(click.Group):
    """Turns our errors into a sentence and an exit code: 1 it failed, 2 wrong settings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take note of whether help is asked for, here or of a command."""
        ctx.meta[ASKS_FOR_HELP] = not {"-h", "--help"}.isdisjoint(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            _leave_if_unread(error)
            known = find_ours(_stop_in(error) or error)
            if known is None:
                raise
            click.echo(f"signalstack: {known}", err=True)
            if isinstance(known, StoppedError):
                sys.exit(known.code)
            sys.exit(WRONG if isinstance(known, SettingsError) else FAILED)


def _leave_if_unread(error: BaseException) -> None:
    """End quietly when nobody reads what we print; click sees to it outside of task groups."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        if group.split((BrokenPipeError, SystemExit))[1] is None:
            # What is still in the buffer would fail again when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(FAILED)


def _stop_in(error: BaseException) -> BaseException | None:
    """Give the wish to stop at once by itself, whatever else failed as everything was left."""
    if not isinstance(error, BaseExceptionGroup):
        return None
    return cast("BaseExceptionGroup[BaseException]", error).subgroup(StoppedError)


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run an async command to its end."""
    return anyio.run(work, backend_options={"use_uvloop": sys.platform == "linux"})


def leave(code: str | int | None) -> NoReturn:
    """End the process, also when a plain handler that nobody can stop still has a thread."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if any(not thread.daemon for thread in threading.enumerate()[1:]):
        os._exit(code if isinstance(code, int) else FAILED if code else 0)
    sys.exit(code)
