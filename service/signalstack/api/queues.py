"""Queues over HTTP: how they stand, their limits, pausing and resuming."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from signalstack.api.operation import Answer, Bare, Call, Operation
from signalstack.core.key import Scope
from signalstack.core.queue import Queue, QueueChange
from signalstack.usecases import queue_control


class QueueList(msgspec.Struct, frozen=True, kw_only=True):
    """All queues that the tenant may use, by name."""

    data: list[Queue]


async def list_queues(call: Bare) -> Answer:
    """Tell how all queues stand."""
    found = await queue_control.list_all(call.parts.pool, call.user_id)
    return Answer(body=QueueList(data=found))


async def get_queue(call: Bare) -> Answer:
    """Tell how one queue stands."""
    return Answer(body=await queue_control.get(call.parts.pool, call.user_id, _name(call)))


async def limit_queue(call: Call[QueueChange, None]) -> Answer:
    """Set a queue's limits, and make the queue when there is none of that name."""
    name = _name(call)
    changed = await queue_control.limit(call.parts.pool, call.user_id, name, call.body)
    call.parts.queues.forget(call.user_id)
    return Answer(body=changed)


async def pause_queue(call: Bare) -> Answer:
    """Let no job of a queue start; what runs goes on."""
    return await _pause(call, paused=True)


async def resume_queue(call: Bare) -> Answer:
    """Let the jobs of a queue start again."""
    return await _pause(call, paused=False)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/queues",
        summary="List queues with their depth, age, running jobs and limits",
        handler=list_queues,
        answers={200: QueueList},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/queues/{name}",
        summary="Get a queue",
        handler=get_queue,
        answers={200: Queue},
        needs=Scope.READ,
    ),
    Operation(
        method="PATCH",
        path="/queues/{name}",
        summary="Limit a queue's concurrency and rate, or make a new queue",
        handler=limit_queue,
        body=QueueChange,
        answers={200: Queue},
        conflicts="The tenant has as many queues of its own as it may.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/queues/{name}/pause",
        summary="Pause a queue: none of its jobs starts until it is resumed",
        handler=pause_queue,
        answers={200: Queue},
        conflicts="The tenant has as many queues of its own as it may.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/queues/{name}/resume",
        summary="Resume a paused queue",
        handler=resume_queue,
        answers={200: Queue},
        conflicts="The tenant has as many queues of its own as it may.",
        needs=Scope.WRITE,
    ),
)


async def _pause(call: Bare, *, paused: bool) -> Answer:
    name = _name(call)
    changed = await queue_control.pause(call.parts.pool, call.user_id, name, paused=paused)
    return Answer(body=changed)


def _name(call: Call[Any, Any]) -> str:
    return call.path["name"]
