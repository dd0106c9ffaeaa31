"""The job types of a user's own that the end-to-end tests run in real workers."""

from __future__ import annotations

import os

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


HANDLERS = {"nap": nap, "hold": hold}
