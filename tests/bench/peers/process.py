"""Runs the adapters: processes that answer JSON lines, and end when the harness ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from signalstack.bench import launch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from anyio.abc import Process

ANSWER_S: Final = 120.0
_START_S: Final = 30.0
_STOP_S: Final = 8.0
_LINE_LIMIT: Final = 4_000_000
_LAST_LINES: Final = 4


class PeerError(Exception):
    """An adapter did not do what it was asked; the message has its last words."""


class Adapter:
    """A running client or worker of a peer."""

    def __init__(self, process: Process, errors: Path) -> None:
        if process.stdout is None or process.stdin is None:
            raise PeerError("an adapter has no pipes")
        self._lines = BufferedByteReceiveStream(process.stdout)
        self._commands = process.stdin
        self._errors = errors
        self._process = process
        self.said = ""
        """The line by which a worker said that it is ready."""

    def cpu_s(self) -> float:
        """Tell how many seconds of CPU it used so far.

        Raises:
            PeerError: the process ended.
        """
        try:
            return process_cpu_s(self._process.pid)
        except FileNotFoundError:
            raise PeerError(f"{self._errors.stem} ended: {self._last_words()}") from None

    def pause(self) -> None:
        """Stop it where it stands."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    async def ask(self, do: str, *, within_s: float = ANSWER_S, **more: object) -> dict[str, Any]:
        """Have a client do something and answer."""
        await self._commands.send(msgspec.json.encode({"do": do, **more}) + b"\n")
        return msgspec.json.decode(await self.until("{", within_s=within_s))

    async def until(self, beginning: str, *, within_s: float = _START_S) -> str:
        """Read up to the line that begins so.

        Raises:
            PeerError: the process ended, or did not say it in time.
        """
        try:
            with anyio.fail_after(within_s):
                while True:
                    line = (await self._lines.receive_until(b"\n", _LINE_LIMIT)).decode()
                    # JSON comes with and without spaces.
                    if line.replace(" ", "").startswith(beginning.replace(" ", "")):
                        return line
        except (TimeoutError, anyio.EndOfStream, anyio.IncompleteRead):
            told = self._last_words()
            raise PeerError(f"{self._errors.stem} did not say {beginning!r}: {told}") from None

    def _last_words(self) -> str:
        told = self._errors.read_text(errors="replace").strip().splitlines()
        return " / ".join(told[-_LAST_LINES:]) or "nothing"


def process_cpu_s(pid: int) -> float:
    """Tell how many seconds of CPU a process used so far; FileNotFoundError if it ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]  # proc(5): utime and stime, counted from the state on
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def running(command: Sequence[str], errors: Path) -> AsyncGenerator[Adapter]:
    """Run a command for as long as the block lasts; its standard error goes into a file."""
    # -I -S: the launcher needs nothing but the standard library.
    tied = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "--", *command]
    with errors.open("wb") as sink:
        process = await anyio.open_process(
            tied,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            start_new_session=True,  # Ctrl-C is for us; we say when it stops
        )
    try:
        yield Adapter(process, errors)
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
