"""Schedules over HTTP: which jobs are made when."""

from __future__ import annotations

from typing import Final

import msgspec

from signalstack.api import idempotency, paging
from signalstack.api.operation import Answer, Bare, Call, Operation
from signalstack.api.paging import PageQuery
from signalstack.core.job import Job
from signalstack.core.key import Scope
from signalstack.core.schedule import Schedule, ScheduleChange, ScheduleRequest
from signalstack.usecases import look_up, schedules


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of schedules, oldest first."""

    data: list[Schedule]
    next_cursor: str | None


async def create_schedule(call: Call[ScheduleRequest, None]) -> Answer:
    """Check and keep a schedule; its first tick is the next time that it names."""
    parts = call.parts
    made = await schedules.create(
        parts.pool,
        call.user_id,
        call.body,
        registry=parts.registry,
        max_timeout_s=parts.acceptor.max_timeout_s,
    )
    location = (b"location", f"/v1/schedules/{made.id}".encode("ascii"))
    return Answer(status=201, body=made, headers=[location])


async def list_schedules(call: Call[None, PageQuery]) -> Answer:
    """List a page of the tenant's schedules."""
    found = await schedules.list_page(
        call.parts.pool,
        call.user_id,
        limit=call.query.limit + 1,
        after=paging.position(call, "schedules"),
    )
    data, next_cursor = paging.split(call, "schedules", found)
    return Answer(body=SchedulePage(data=data, next_cursor=next_cursor))


async def get_schedule(call: Bare) -> Answer:
    """Look one schedule up, with its next five times."""
    return Answer(body=await schedules.get(call.parts.pool, call.user_id, call.id))


async def change_schedule(call: Call[ScheduleChange, None]) -> Answer:
    """Change what is named of a schedule; with other times it goes on from now by those."""
    parts = call.parts
    changed = await schedules.change(
        parts.pool,
        call.user_id,
        call.id,
        call.body,
        registry=parts.registry,
        max_timeout_s=parts.acceptor.max_timeout_s,
    )
    return Answer(body=changed)


async def delete_schedule(call: Bare) -> Answer:
    """Delete a schedule; jobs that it made before stay."""
    await schedules.delete(call.parts.pool, call.user_id, call.id)
    return Answer(status=204)


async def pause_schedule(call: Bare) -> Answer:
    """Have a schedule make no jobs until it is resumed; what it misses meanwhile is not made up."""
    return Answer(body=await schedules.pause(call.parts.pool, call.user_id, call.id))


async def resume_schedule(call: Bare) -> Answer:
    """Have a paused schedule tick again, from its next time on."""
    return Answer(body=await schedules.resume(call.parts.pool, call.user_id, call.id))


async def run_schedule(call: Bare) -> Answer:
    """Make a schedule's job now, also while it is paused; its ticks stay as they are."""
    parts = call.parts
    enqueued = await schedules.run(
        parts.pool,
        call.user_id,
        call.id,
        acceptor=parts.acceptor,
        registry=parts.registry,
        idempotency_key=idempotency.key_of(call.exchange.headers),
        traceparent=call.exchange.traceparent,
    )
    job_id = enqueued.replayed_id or enqueued.jobs[0].id
    with look_up.made_before():
        job = await look_up.get_job(parts.pool, call.user_id, job_id)
    location = (b"location", f"/v1/jobs/{job_id}".encode("ascii"))
    if enqueued.replayed_id is None:
        return Answer(status=201, body=job, headers=[location])
    return Answer(body=job, headers=[location, idempotency.REPLAYED])


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/schedules",
        summary="Create a schedule",
        handler=create_schedule,
        body=ScheduleRequest,
        answers={201: Schedule},
        tells={201: ("Location",)},
        conflicts="The name is in use, or the tenant has as many schedules as it may.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="GET",
        path="/schedules",
        summary="List schedules",
        handler=list_schedules,
        query=PageQuery,
        answers={200: SchedulePage},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/schedules/{id}",
        summary="Get a schedule with its next times",
        handler=get_schedule,
        answers={200: Schedule},
        needs=Scope.READ,
    ),
    Operation(
        method="PATCH",
        path="/schedules/{id}",
        summary="Change a schedule",
        handler=change_schedule,
        body=ScheduleChange,
        answers={200: Schedule},
        conflicts="The name is in use.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="DELETE",
        path="/schedules/{id}",
        summary="Delete a schedule",
        handler=delete_schedule,
        answers={204: None},
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/schedules/{id}/pause",
        summary="Pause a schedule",
        handler=pause_schedule,
        answers={200: Schedule},
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/schedules/{id}/resume",
        summary="Resume a paused schedule",
        handler=resume_schedule,
        answers={200: Schedule},
        conflicts="Its time zone is not known any more.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/schedules/{id}/run",
        summary="Make a schedule's job now",
        handler=run_schedule,
        answers={201: Job, 200: Job},
        reads=("Idempotency-Key",),
        tells={201: ("Location",), 200: ("Location", "Idempotent-Replayed")},
        conflicts=(
            "What its job needs is gone (its type, its queue, or a payload that fits), or the"
            " Idempotency-Key made a job that was deleted since."
        ),
        needs=Scope.WRITE,
    ),
)
