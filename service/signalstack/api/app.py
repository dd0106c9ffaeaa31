"""The application: the table of all operations behind the edge, as one plain ASGI callable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.api import (
    analytics,
    endpoints,
    events,
    health,
    job_control,
    jobs,
    messages,
    queues,
    scheduler,
    schedules,
    stream,
    subscriptions,
)
from signalstack.api.description import Description
from signalstack.api.middleware import Edge
from signalstack.api.operation import AnyOperation, routes

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from signalstack.api.parts import Parts

# In order of matching: what is asked most often comes first.
OPERATIONS: Final[tuple[AnyOperation, ...]] = (
    *events.OPERATIONS,
    *jobs.OPERATIONS,
    *job_control.OPERATIONS,
    *stream.OPERATIONS,
    *health.OPERATIONS,
    *subscriptions.OPERATIONS,
    *endpoints.OPERATIONS,
    *schedules.OPERATIONS,
    *queues.OPERATIONS,
    *messages.OPERATIONS,
    *scheduler.OPERATIONS,
    *analytics.OPERATIONS,
)


def create_app(parts: Parts) -> ASGIApp:
    """Build the ASGI application; it needs no lifespan and runs on any server."""
    description = Description(OPERATIONS, parts.registry)
    return Edge(routes((*OPERATIONS, *description.operations), parts), parts.observer)
