"""Rehearsing a subscription: what it would make of an event, with nothing stored."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from signalstack.core.errors import Fault, InvalidError
from signalstack.core.fit import fit
from signalstack.core.subscription import (
    JobTemplate,
    MatchingSubscription,
    PlannedJob,
    Rehearsal,
    read_unfilled,
)
from signalstack.usecases import subscribe
from signalstack.usecases.aside import aside
from signalstack.usecases.matching import try_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from signalstack.core.event import NewEvent
    from signalstack.core.handler import Registry
    from signalstack.core.job import NewJob
    from signalstack.store.pool import Pool


async def rehearse(
    pool: Pool, user_id: UUID, subscription_id: UUID, event: NewEvent, *, registry: Registry
) -> Rehearsal:
    """Show what one of the tenant's subscriptions would make of an event, were it active.

    Raises:
        NotFoundError: there is no such subscription.
    """
    kept = await subscribe.get(pool, user_id, subscription_id)
    template = msgspec.json.decode(kept.job, type=JobTemplate)
    row = MatchingSubscription(
        id=kept.id,
        event_type=kept.event_type,
        filter=msgspec.json.decode(kept.filter, type=dict[str, Any] | None),
        job=template,
        source=b"",
    )
    made = await aside(user_id, partial(try_out, row, event, max_attempts=1))
    if isinstance(made, str):
        return Rehearsal(matches=False, reason=made, jobs=[])
    planned = PlannedJob(
        type=made.type,
        queue=made.queue,
        payload=msgspec.Raw(made.payload),
        priority=made.priority,
        max_attempts=template.max_attempts,
        delay_s=made.delay_s,
        errors=list(_faults(made, registry)),
    )
    reason = None if kept.active else "the subscription is not active: it makes no job until it is"
    return Rehearsal(matches=True, reason=reason, jobs=[planned])


def _faults(job: NewJob, registry: Registry) -> Sequence[Fault]:
    if (unfilled := read_unfilled(job.payload)) is not None:
        return [Fault(pointer="/payload", detail=f"the job would fail: {unfilled}")]
    job_type = registry.get(job.type)
    if job_type is None:
        return [Fault(pointer="/type", detail=f"{job.type!r} does not exist any more")]
    try:
        fit(msgspec.json.decode(job.payload), job_type.payload, "/payload")
    except InvalidError as error:
        return error.faults
    return []
