"""An event as it is looked up: with the jobs that it became."""

from __future__ import annotations

from uuid import UUID

import msgspec

from signalstack.core.event import Event
from signalstack.core.job import Status


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Enough of a job to see where it stands."""

    id: UUID
    type: str
    queue: str
    status: Status


class EventDetail(Event, frozen=True, kw_only=True):
    """An event with its jobs, in the order in which they were made."""

    jobs: list[JobSummary]
