"""The job types of a user's own that the end-to-end tests run in real workers."""

from __future__ import annotations

import os
import time

import anyio
import msgspec

from signalstack.core.handler import Context  # noqa: TC001 - the registry reads annotations


class Nap(msgspec.Struct):
    """How long to take, in seconds."""

    seconds: float = 0.0


async def nap(payload: Nap, context: Context) -> object:
    """Take a while, and tell who did."""
    await anyio.sleep(payload.seconds)
    return {"pid": os.getpid(), "attempt": context.attempt}


async def hold(_payload: None, context: Context) -> object:
    """Never end on the first attempt."""
    if context.attempt == 1:
        await anyio.sleep_forever()
    return {"pid": os.getpid(), "attempt": context.attempt}


async def block(_payload: None, context: Context) -> object:
    """Keep the event loop from turning on the first attempt."""
    if context.attempt == 1:
        time.sleep(3600)  # noqa: ASYNC251, TID251 - the mistake that is tested
    return {"pid": os.getpid(), "attempt": context.attempt}


async def poison(_payload: None, _context: Context) -> None:
    """Fail whenever it is tried."""
    raise ValueError("nobody can do this")


HANDLERS = {"nap": nap, "hold": hold, "block": block, "poison": poison}
