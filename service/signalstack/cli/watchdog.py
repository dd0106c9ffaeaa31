"""Ends a process whose event loop stands still, so that a supervisor starts it anew.

A worker's heartbeat outlives a blocked loop on purpose; without an end it would keep jobs for ever
that nobody runs.
"""

from __future__ import annotations

import faulthandler
import sys
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from typing import Never

_TURNS: Final = 4


async def guard(limit_s: float) -> Never:
    """Write all stacks to stderr and exit with 1 when the loop has not turned for so many seconds.

    Runs until cancelled. The clock that ticks is a thread without Python, so that what holds the
    interpreter's lock cannot stop it. A process that is stopped (SIGSTOP) for longer ends as well.
    """
    try:
        while True:
            faulthandler.dump_traceback_later(limit_s, exit=True, file=sys.stderr)
            await anyio.sleep(limit_s / _TURNS)
    finally:
        faulthandler.cancel_dump_traceback_later()
