"""Moments that one process takes down and another one reads: a file in memory, no system call."""

from __future__ import annotations

import mmap
from struct import Struct
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.bench.figure import BenchError

if TYPE_CHECKING:
    from pathlib import Path

_SLOT: Final = Struct("=q")
_LOOK_S: Final = 0.002


class Stamps:
    """A row of slots, each for one moment of CLOCK_MONOTONIC in nanoseconds, 0 while empty.

    The clock is the same in all processes of a Linux machine.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    @classmethod
    def make(cls, path: Path, count: int) -> Stamps:
        """Make the file with empty slots."""
        path.write_bytes(bytes(_SLOT.size * count))
        return cls(path)

    def set(self, slot: int, at_ns: int) -> None:
        """Take a moment down; the first one stays."""
        if not self.get(slot):
            _SLOT.pack_into(self._memory, slot * _SLOT.size, at_ns)

    def get(self, slot: int) -> int:
        """Read a moment; 0 when there is none yet."""
        at_ns: int = _SLOT.unpack_from(self._memory, slot * _SLOT.size)[0]
        return at_ns

    async def wait(self, slot: int, *, within_s: float) -> int:
        """Return the moment as soon as it is there.

        Raises:
            BenchError: it did not come in time.
        """
        with anyio.move_on_after(within_s):
            while not self.get(slot):  # noqa: ASYNC110 - it is set in another process
                await anyio.sleep(_LOOK_S)
        if not (at_ns := self.get(slot)):
            raise BenchError(f"what was sent as number {slot} did not arrive in {within_s:g} s")
        return at_ns
