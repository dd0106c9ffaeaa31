"""Hypercorn in our own task group: the socket, the limits and the end of serving."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from hypercorn import protocol
from hypercorn.asyncio import (
    serve as hypercorn_serve,  # pyright: ignore[reportUnknownVariableType] - WSGI types of theirs
)
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol

from signalstack.core.errors import SettingsError

if TYPE_CHECKING:
    from anyio.abc import TaskStatus
    from h11 import Request
    from hypercorn.typing import ASGIFramework
    from starlette.types import ASGIApp, Receive, Scope, Send

BACKLOG: Final = 1_024
# Hypercorn has one timer for a connection that waits: for its next request, and for the rest of
# a request's head. Longer than the 60 s of usual load balancers, which must be the first to close.
KEEP_ALIVE_S: Final = 75
KEEP_ALIVE_REQUESTS: Final = 100_000
MAX_HEAD_BYTES: Final = 16_384
# Requests under way at shutdown have passed their own deadline before this is over.
GRACE_S: Final = 10.0
_LAST_RESORT_S: Final = 2.0


async def bind(host: str, port: int) -> socket.socket:
    """Take an address, on which `serve` will listen; port 0 takes any free one.

    Nobody can connect yet. Another process that binds at the same moment may share the address
    until one of them listens (SO_REUSEADDR, without which a restart would wait for a minute).

    Raises:
        SettingsError: HOST or PORT cannot be used.
    """
    try:
        found = await anyio.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:  # the latter for what no name can look like
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"HOST={host} cannot be resolved ({reason}): set it to 127.0.0.1, 0.0.0.0 or a name "
            "of this machine"
        ) from error
    family, _, _, _, address = found[0]
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except OSError as error:
        taken.close()
        raise SettingsError(_explain(error, host, port)) from error
    return taken


async def serve(
    app: ASGIApp,
    *,
    at: socket.socket,
    shutdown: anyio.Event,
    grace_s: float = GRACE_S,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` is set and then for at most `grace_s` seconds what is under way.

    The port is reported through `task_status` once connections are taken. Raises SettingsError
    when another process came to listen `at` the address since it was bound.
    """
    host, bound = at.getsockname()[:2]
    try:
        # Listening before the port is told: from then on a connection waits instead of failing.
        at.listen(BACKLOG)
    except OSError as error:
        raise SettingsError(_explain(error, host, bound)) from error
    config = _configure(at, grace_s)
    protocol.H11Protocol = _NoUpgrade  # pyright: ignore[reportPrivateImportUsage] - its only seam
    requests = _Requests(app)
    stop, ended = anyio.Event(), anyio.Event()
    task_status.started(bound)
    async with anyio.create_task_group() as tasks:
        # Shielded, because Hypercorn does not survive being cancelled: it is asked to stop instead.
        with anyio.CancelScope(shield=True) as serving:
            tasks.start_soon(_end, shutdown, grace_s, stop, requests, ended, serving)
            cancelled = _count_cancellations()
            try:
                await hypercorn_serve(
                    cast("ASGIFramework", requests),
                    config,
                    shutdown_trigger=stop.wait,
                    mode="asgi",
                )
            except asyncio.InvalidStateError:
                # Cancelled at last, it asks a future for an outcome that it does not have yet.
                if not serving.cancel_called:
                    raise
            finally:
                _forget_cancellations(down_to=cancelled)
                ended.set()
        tasks.cancel_scope.cancel()


class _NoUpgrade(H11Protocol):
    """HTTP/1.1 that passes over an offer of HTTP/2, as Java's client makes one with each GET.

    Hypercorn would take it, and there is no other way to have it not to.
    """

    async def _check_protocol(self, event: Request) -> None:
        if event.method == b"PRI":
            await super()._check_protocol(event)


class _Requests:
    """The application as Hypercorn sees it: without lifespan, and what runs can be cancelled."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be an ASGI application."""
        task = asyncio.current_task()
        if scope["type"] == "lifespan" or task is None:
            return
        self._running.add(task)
        try:
            await self._app(scope, receive, send)
        finally:
            self._running.discard(task)

    def cancel(self) -> None:
        """Cancel all requests under way."""
        for task in self._running:
            task.cancel()


async def _end(
    shutdown: anyio.Event,
    grace_s: float,
    stop: anyio.Event,
    requests: _Requests,
    ended: anyio.Event,
    serving: anyio.CancelScope,
) -> None:
    """Stop serving once `shutdown` is set: with grace, or without any when we are cancelled."""
    try:
        await shutdown.wait()
        stop.set()
        with anyio.move_on_after(grace_s):
            await ended.wait()
    finally:
        stop.set()
        requests.cancel()
        # A caller who does not read its answer could hold us up for ever.
        with anyio.move_on_after(_LAST_RESORT_S, shield=True):
            await ended.wait()
        serving.cancel()


def _count_cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _forget_cancellations(*, down_to: int) -> None:
    """Take back what Hypercorn's end leaves behind: a cancellation of the task that serves.

    Up to Python 3.12 a task group that fails while it is being left keeps its own cancellation
    counted. anyio would take that for one from outside, and so end everything beside the server.
    """
    task = asyncio.current_task()
    while task is not None and task.cancelling() > down_to:
        task.uncancel()


def _explain(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"PORT={port} is in use on {host}: stop the process that listens there, or set "
                "PORT to a free one (0 takes any)"
            )
        case errno.EACCES:
            return f"PORT={port} needs privileges: set PORT to one above 1023 (0 takes any)"
        case errno.EADDRNOTAVAIL:
            return f"HOST={host} is no address of this machine: 127.0.0.1 and 0.0.0.0 always are"
        case _:
            return f"HOST={host}, PORT={port} cannot be listened on ({error.strerror})"


def _configure(listener: socket.socket, grace_s: float) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = BACKLOG
    # Requests are cancelled by us before; what is left then are answers that nobody reads.
    config.graceful_timeout = grace_s + _LAST_RESORT_S / 2
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = KEEP_ALIVE_REQUESTS
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_server_header = False
    # The edge logs requests and their failures; of Hypercorn only what it finds wrong is wanted.
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.errorlog.setLevel(logging.WARNING)
    return config
