"""The automatic message sender over HTTP: start, stop, and how it gets on."""

from __future__ import annotations

from typing import Final

from signalstack.api.operation import Answer, Bare, Operation
from signalstack.core.key import Scope
from signalstack.usecases import scheduler
from signalstack.usecases.scheduler import SchedulerStatus

_FULL: Final = "The tenant has as many queues of its own as it may."


async def start(call: Bare) -> Answer:
    """Have the tenant's messages sent; when they are already, nothing changes."""
    return Answer(body=await scheduler.turn(call.parts.pool, call.user_id, on=True))


async def stop(call: Bare) -> Answer:
    """Send no more of the tenant's messages until it is started; those under way are finished."""
    return Answer(body=await scheduler.turn(call.parts.pool, call.user_id, on=False))


async def get_status(call: Bare) -> Answer:
    """Tell how the tenant's sending stands."""
    return Answer(body=await scheduler.status(call.parts.pool, call.user_id))


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/scheduler/start",
        summary="Start sending messages",
        handler=start,
        answers={200: SchedulerStatus},
        conflicts=_FULL,
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/scheduler/stop",
        summary="Stop sending messages; the queue of messages is paused",
        handler=stop,
        answers={200: SchedulerStatus},
        conflicts=_FULL,
        needs=Scope.WRITE,
    ),
    Operation(
        method="GET",
        path="/scheduler/status",
        summary="Get how the sending of messages stands",
        handler=get_status,
        answers={200: SchedulerStatus},
        needs=Scope.READ,
    ),
)
