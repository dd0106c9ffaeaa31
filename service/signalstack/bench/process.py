"""Runs the processes that are measured: real ones, which end when the bench ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from signalstack.bench import launch
from signalstack.bench.figure import BenchError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

    from anyio.abc import Process

_START_S: Final = 30.0
_STOP_S: Final = 10.0
_LINE_LIMIT: Final = 65_536
_LAST_LINES: Final = 3


class Running:
    """A process of ours, heard line by line."""

    def __init__(self, process: Process, errors: Path) -> None:
        if process.stdout is None:
            raise BenchError("the process has no standard output")
        self._stream = BufferedByteReceiveStream(process.stdout)
        self._errors = errors
        self._process = process
        self.metrics_url = ""

    def pause(self) -> None:
        """Stop it where it stands."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    async def until(self, first_word: str, *, within_s: float = _START_S) -> str:
        """Read up to the line that begins with this word; return what follows it.

        Raises:
            BenchError: the process ended, or did not say it in time.
        """
        try:
            with anyio.fail_after(within_s):
                while True:
                    line = await self._stream.receive_until(b"\n", _LINE_LIMIT)
                    word, _, rest = line.decode(errors="replace").partition(" ")
                    if word == first_word:
                        return rest.strip()
        except (TimeoutError, anyio.EndOfStream, anyio.IncompleteRead):
            told = self._errors.read_text(errors="replace").strip().splitlines()
            last = " / ".join(told[-_LAST_LINES:]) or "nothing"
            raise BenchError(
                f"a process of the bench did not get to say {first_word!r}; it says: {last}"
            ) from None


@asynccontextmanager
async def running(
    arguments: Sequence[str], variables: Mapping[str, str], errors: Path
) -> AsyncGenerator[Running]:
    """Run `python -m …` with further variables for as long as the block lasts.

    Its standard error goes into the file `errors`.
    """
    command = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
    command += [f"{name}={value}" for name, value in variables.items()]
    command += ["--", sys.executable, "-m", *arguments]
    with errors.open("wb") as sink:
        process = await anyio.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            start_new_session=True,  # Ctrl-C is for us; we say when it stops
        )
    try:
        yield Running(process, errors)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a paused one would not hear it
        with anyio.move_on_after(_STOP_S):
            await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()
