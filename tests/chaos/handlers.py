"""The job types of a chaos run: each run of theirs is noted in a ledger outside of the database.

A line is written at the start, and one at the end when the handler lived to see it; both in one
write to a file opened for appending, so that processes do not tear each other's lines.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

if TYPE_CHECKING:
    from signalstack.core.handler import Context

LEDGER: Final = "CHAOS_LEDGER"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler wrote; `at` is the machine's monotonic clock in seconds."""

    job: str
    attempt: int
    pid: int
    at: float
    end: bool


class Work(msgspec.Struct, kw_only=True):
    """What a run is to do: take a while, fail so many times, die or block the first time."""

    seconds: float = 0.0
    fails: int = 0
    dies: bool = False
    blocks_s: float = 0.0
    tick: str | None = None
    """Which tick of its schedule made the job."""


def note(context: Context, *, end: bool) -> None:
    """Write a line about this run into the ledger."""
    line = msgspec.json.encode(
        Note(
            job=str(context.job_id),
            attempt=context.attempt,
            pid=os.getpid(),
            at=time.monotonic(),
            end=end,
        )
    )
    path = os.environ[LEDGER]  # noqa: TID251 - a test's handler has no other way to know
    with open(path, "ab", buffering=0) as ledger:  # noqa: PTH123 - one write, no buffer
        ledger.write(line + b"\n")


async def work(payload: Work, context: Context) -> object:
    """Do as told; whatever happens, the ledger knows that this run began."""
    note(context, end=False)
    try:
        await anyio.sleep(payload.seconds)
        if context.attempt == 1 and payload.blocks_s:
            time.sleep(payload.blocks_s)  # noqa: ASYNC251, TID251 - the mistake that is tested
        if context.attempt == 1 and payload.dies:
            # The effect took place, and nobody will ever be told.
            os.kill(os.getpid(), signal.SIGKILL)
        if context.attempt <= payload.fails:
            raise RuntimeError("told to fail")
        return {"attempt": context.attempt}
    finally:
        note(context, end=True)


HANDLERS = {"chaos": work}
