"""A job's changes as server-sent events, from the first or from the last one seen, to its end."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from signalstack.api import codec
from signalstack.api.auth import admit
from signalstack.api.operation import Answer, Bare, Operation
from signalstack.core.errors import (
    ForbiddenError,
    MalformedError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from signalstack.core.history import since
from signalstack.core.job import TERMINAL, Job, Status, Watch
from signalstack.core.key import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from signalstack.core.history import Change

MEDIA_TYPE: Final = "text/event-stream"
# A proxy that gathers, or a cache that keeps, would hold events back.
_HEADERS: Final = (
    (b"content-type", MEDIA_TYPE.encode("ascii")),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_NEEDS: Final = Scope.READ
_HELLO: Final = b"retry: 1000\n\n"
_HEARTBEAT: Final = b":\n\n"


class StatusChange(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `status` event; the last one has the whole job."""

    status: Status
    attempt: int
    at: datetime
    job: Job | msgspec.UnsetType = msgspec.UNSET


async def stream_job(call: Bare) -> Answer:
    """Tell a job's changes until it ends; 204, which ends EventSource, when all were seen."""
    # Browsers send no empty one; whoever does has seen nothing yet.
    last_id = call.exchange.headers.get("last-event-id") or None
    job, changes = await call.parts.watchers.story(call.user_id, call.id)
    try:
        news = since(changes, last_id)
    except ValueError:
        raise MalformedError("Last-Event-ID must be the id of an event of this stream") from None
    if job.status in TERMINAL and not news:
        return Answer(status=204)
    chunks = _events(call, last_id)
    # Up to its first word it can fail, and be refused; from then on it is closed in any case.
    await anext(chunks)
    return Answer(headers=_HEADERS, chunks=chunks)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/jobs/{id}/stream",
        summary="Follow a job's status by server-sent events",
        handler=stream_job,
        answers={200: StatusChange, 204: None},
        reads=("Last-Event-ID",),
        produces=MEDIA_TYPE,
        needs=_NEEDS,
    ),
)


async def _events(call: Bare, last_id: str | None) -> AsyncGenerator[bytes]:
    watchers, limits = call.parts.watchers, call.parts.limits
    until = anyio.current_time() + limits.stream_s
    with watchers.watch(call.user_id, call.id) as watcher:
        await watchers.ask(watcher, Watch.EVERY_CHANGE)
        yield b""
        yield _HELLO
        # When it is over the caller comes back and names the last event that it saw.
        while not watchers.closed and anyio.current_time() < until:
            try:
                # Revoked and expired keys see no more: mostly it is remembered, without a query.
                await admit(call.exchange.headers, _NEEDS, call.parts.authenticator)
                job, changes = await watchers.story(call.user_id, call.id)
            except UnavailableError:
                job, changes = None, []  # told again once the listener is back
            except (UnauthenticatedError, ForbiddenError, NotFoundError):
                return  # the job was deleted, or is not the caller's to see any more
            over = job is not None and job.status in TERMINAL
            for change in since(changes, last_id):
                last_id = change.id
                yield _event(change, job if over and change is changes[-1] else None)
            if over:
                return
            if not await watcher.news(limits.heartbeat_s):
                yield _HEARTBEAT


def _event(change: Change, job: Job | None) -> bytes:
    data = StatusChange(
        status=change.status,
        attempt=change.attempt,
        at=change.at,
        job=msgspec.UNSET if job is None else job,
    )
    # JSON has no bare line break, so one `data:` line holds it.
    return b"event: status\nid: %b\ndata: %b\n\n" % (change.id.encode(), codec.encode(data))
