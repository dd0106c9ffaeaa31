"""The front door for tests: an application behind HTTP, in the process or over a real socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import anyio
import httpx2

from signalstack.api.middleware import Edge
from signalstack.api.operation import AnyOperation, routes
from signalstack.api.parts import Check, Limits, Parts
from signalstack.api.serve import serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from signalstack.usecases.accept import Acceptor
    from starlette.types import ASGIApp

    from signalstack.core.stage import Observer
    from signalstack.store.pool import Pool
    from signalstack.usecases.authenticate import Authenticator

READ_LIMIT = 65_536
PATIENCE_S = 10


def edge_alone(
    operations: Sequence[AnyOperation],
    observer: Observer,
    limits: Limits | None = None,
    readiness: Mapping[str, Check] | None = None,
) -> ASGIApp:
    """Build an application of operations that need no database, and give them none."""
    parts = Parts(
        pool=cast("Pool", None),
        acceptor=cast("Acceptor", None),
        authenticator=cast("Authenticator", None),
        observer=observer,
        registry={},
        readiness=readiness or {},
        limits=limits or Limits(),
    )
    return Edge(routes(operations, parts), observer)


@asynccontextmanager
async def client_of(app: ASGIApp) -> AsyncGenerator[httpx2.AsyncClient]:
    """Give a client that speaks to the application without a socket."""
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client


@asynccontextmanager
async def served(
    app: ASGIApp, *, shutdown: anyio.Event | None = None, grace_s: float = 5.0
) -> AsyncGenerator[int]:
    """Serve the application by Hypercorn on a free port, and give the port; ends with the block."""
    ending = shutdown or anyio.Event()

    async def run(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        await serve(
            app,
            host="127.0.0.1",
            port=0,
            shutdown=ending,
            grace_s=grace_s,
            task_status=task_status,
        )

    async with anyio.create_task_group() as tasks:
        yield await tasks.start(run)
        ending.set()


async def talk(port: int, *sent: bytes, end: bool = False) -> bytes:
    """Send bytes over a connection of their own and read until the other side closes it.

    With `end` our side is closed first, as by a caller who has left.
    """
    heard = b""
    with anyio.fail_after(PATIENCE_S):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            for part in sent:
                await stream.send(part)
            if end:
                await stream.send_eof()
            try:
                while True:
                    heard += await stream.receive(READ_LIMIT)
            except anyio.EndOfStream:
                return heard
