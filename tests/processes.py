r"""Drives the command line as a user does: real processes, their output line by line, their ends.

async with start("up", "--data-dir", folder) as process:
    url = await process.read(r"^API +(\S+)")
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.text import TextReceiveStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from anyio.abc import ByteReceiveStream, Process

COMMAND: Final = (sys.executable, "-m", "signalstack")
PATIENCE_S: Final = 40.0
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME", "UV_CACHE_DIR")
_KEPT_PREFIXES: Final = ("COVERAGE", "COV_")


class Running:
    """A process of ours and what it has said so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.output = ""
        self.errors = ""
        self._changed = anyio.Event()
        self._open = 2

    @property
    def pid(self) -> int:
        """The process id; the process leads a group of the same number."""
        return self.process.pid

    async def read(self, pattern: str) -> str:
        """Wait for a line of its output, and return the pattern's group, or all that matched."""
        return await self._await(pattern, lambda: self.output)

    async def read_error(self, pattern: str) -> str:
        """Wait for the same in its errors, where the log goes."""
        return await self._await(pattern, lambda: self.errors)

    async def wait(self) -> int:
        """Wait for its end and for all that it said; return the exit code, -9 for SIGKILL."""
        with anyio.fail_after(PATIENCE_S):
            code = await self.process.wait()
            while self._open:
                await self._next()
        return code

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end."""
        self.process.send_signal(number)
        return await self.wait()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to its whole group, as a terminal does at Ctrl-C."""
        os.killpg(self.pid, number)

    async def keep(self, stream: ByteReceiveStream, *, is_error: bool) -> None:
        """Take in what the process says, until it says no more."""
        async for text in TextReceiveStream(stream, errors="replace"):
            if is_error:
                self.errors += text
            else:
                self.output += text
            self._changed.set()
        self._open -= 1
        self._changed.set()

    async def _await(self, pattern: str, said: Callable[[], str]) -> str:
        wanted = re.compile(pattern, re.MULTILINE)
        with anyio.move_on_after(PATIENCE_S):
            while self._open or self.process.returncode is None:
                if found := self._find(wanted, said()):
                    return found
                await self._next()
        found = self._find(wanted, said())
        assert found, f"{pattern!r} was not said:\n{self.output}\n{self.errors}"
        return found

    @staticmethod
    def _find(wanted: re.Pattern[str], said: str) -> str | None:
        # Only whole lines: what stands after the last line end may be half of one.
        found = wanted.search(said[: said.rfind("\n") + 1])
        return found[found.lastindex or 0] if found else None

    async def _next(self) -> None:
        self._changed = anyio.Event()
        await self._changed.wait()


@asynccontextmanager
async def start(
    *arguments: str | Path, prefix: Sequence[str] = (), **variables: str
) -> AsyncGenerator[Running]:
    """Start `signalstack` with these arguments and variables alone; it is killed at the end.

    `prefix` is a program that runs it in its own place.
    """
    process = await anyio.open_process(
        [*prefix, *COMMAND, *map(str, arguments)],
        env=_environment(variables),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    running = Running(process)
    assert process.stdout
    assert process.stderr
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(running.keep, process.stdout, is_error=False))
        tasks.start_soon(partial(running.keep, process.stderr, is_error=True))
        try:
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.wait()
        tasks.cancel_scope.cancel()
    await process.aclose()


async def finish(*arguments: str | Path, **variables: str) -> tuple[int, str, str]:
    """Run `signalstack` to its end; return exit code, output and errors."""
    async with start(*arguments, **variables) as process:
        code = await process.wait()
        return code, process.output, process.errors


def _environment(variables: dict[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - what every process needs
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    free = {"PORT": "0", "METRICS_PORT": "0", "LOG_FORMAT": "console"}
    return {**kept, **free, **variables}
