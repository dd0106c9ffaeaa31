"""Existing jobs over HTTP: list them and their runs, amend, cancel, retry and hide them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec

from signalstack.api import codec, paging
from signalstack.api.operation import Answer, Bare, Call, Operation
from signalstack.api.paging import PageQuery
from signalstack.core.job import Attempt, Job, JobChange, JobFilter, Status
from signalstack.core.key import Scope
from signalstack.core.timeline import Timeline
from signalstack.usecases import browse, control

_LIST: Final = "jobs"


class JobQuery(PageQuery, frozen=True, kw_only=True):
    """Which jobs are wanted: those that fit all of it.

    A filter that no index serves (`queue` above all) reads a bounded number of jobs for each page:
    a page may then have fewer than `limit`, even none, and still a `next_cursor` that leads on.
    """

    status: Annotated[Status | None, msgspec.Meta(description="Jobs of this status.")] = None
    type: Annotated[str | None, msgspec.Meta(description="Jobs of this type.")] = None
    queue: Annotated[
        str | None,
        msgspec.Meta(
            description="Jobs of this queue. Pages may be short: follow next_cursor to its end."
        ),
    ] = None
    created_after: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(description="Jobs created at this moment or later (RFC 3339; `+` is `%2B`)."),
    ] = None
    created_before: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(description="Jobs created before this moment (RFC 3339; `+` is `%2B`)."),
    ] = None


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of jobs, newest first; the last one has no cursor."""

    data: list[Job]
    next_cursor: str | None


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """All runs of a job, first to last; the last one may still go on."""

    data: list[Attempt]


async def list_jobs(call: Call[None, JobQuery]) -> Answer:
    """List a page of the tenant's jobs."""
    query = call.query
    wanted = JobFilter(
        status=query.status,
        type=query.type,
        queue=query.queue,
        created_after=query.created_after,
        created_before=query.created_before,
    )
    page = await browse.list_jobs(
        call.parts.pool,
        call.user_id,
        wanted,
        limit=query.limit,
        below=paging.position(call, _LIST),
    )
    cursor = paging.cursor_after(call, _LIST, page.below)
    return Answer(body=JobPage(data=page.jobs, next_cursor=cursor))


async def list_attempts(call: Bare) -> Answer:
    """List every run of a job."""
    runs = await browse.list_attempts(call.parts.pool, call.user_id, call.id)
    return Answer(body=Attempts(data=runs))


async def get_timeline(call: Bare) -> Answer:
    """Tell where the time of a job went, stage by stage."""
    return Answer(body=await browse.trace_time(call.parts.pool, call.user_id, call.id))


async def amend_job(call: Call[JobChange, None]) -> Answer:
    """Change a job that has not started."""
    change = call.body
    if isinstance(change.run_at, datetime):
        codec.in_utc(change.run_at, "/run_at")
    job = await control.amend(
        call.parts.pool, call.user_id, call.id, change, job_types=call.parts.registry
    )
    return Answer(body=job)


async def cancel_job(call: Bare) -> Answer:
    """Cancel a job that waits or runs."""
    parts = call.parts
    return Answer(
        body=await control.cancel(parts.pool, call.user_id, call.id, observer=parts.observer)
    )


async def retry_job(call: Bare) -> Answer:
    """Run a failed or cancelled job again."""
    return Answer(body=await control.retry(call.parts.pool, call.user_id, call.id))


async def hide_job(call: Bare) -> Answer:
    """Hide a finished job."""
    await control.hide(call.parts.pool, call.user_id, call.id)
    return Answer(status=204)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/jobs",
        summary="List jobs, newest first",
        handler=list_jobs,
        query=JobQuery,
        answers={200: JobPage},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/jobs/{id}/attempts",
        summary="List every run of a job",
        handler=list_attempts,
        answers={200: Attempts},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/jobs/{id}/timeline",
        summary="Tell where a job's time went, stage by stage",
        handler=get_timeline,
        answers={200: Timeline},
        needs=Scope.READ,
    ),
    Operation(
        method="PATCH",
        path="/jobs/{id}",
        summary="Change a job that has not started",
        handler=amend_job,
        body=JobChange,
        answers={200: Job},
        conflicts="The job has started.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/jobs/{id}/cancel",
        summary="Cancel a job: a waiting one at once, a running one by its worker",
        handler=cancel_job,
        answers={200: Job},
        conflicts="The job has succeeded or failed.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/jobs/{id}/retry",
        summary="Run a failed or cancelled job again",
        handler=retry_job,
        answers={200: Job},
        conflicts="The job waits, runs or has succeeded.",
        needs=Scope.WRITE,
    ),
    Operation(
        method="DELETE",
        path="/jobs/{id}",
        summary="Hide a finished job",
        handler=hide_job,
        answers={204: None},
        conflicts="The job has not ended.",
        needs=Scope.WRITE,
    ),
)
