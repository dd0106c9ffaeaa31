"""Jobs over HTTP: creating one or many, and looking one up."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from signalstack.api import codec, idempotency, waiting
from signalstack.api.operation import Answer, Call, Operation
from signalstack.api.waiting import WaitQuery
from signalstack.core.errors import InvalidError, NotFoundError, UnavailableError
from signalstack.core.ids import new_id
from signalstack.core.job import TERMINAL, Job, JobRequest, NewJob, Status, Watch
from signalstack.core.key import Scope
from signalstack.usecases import look_up

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from signalstack.usecases.accept import Enqueued
    from signalstack.usecases.wait import Watcher

MAX_BATCH: Final = 1_000
_ONE_BY_ONE: Final = "create each job by itself (POST /v1/jobs) with a key of its own"


class JobBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs/batch`."""

    jobs: Annotated[list[JobRequest], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]


class CreatedJobs(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `POST /v1/jobs/batch`, in the order of the request."""

    jobs: list[Job]


async def create_job(call: Call[JobRequest, None]) -> Answer:
    """Accept one job; the same key and body again answers 200 with the job there is.

    With `Prefer: wait=N` the answer is 200 with the finished job, if it ends within N seconds, and
    otherwise 202 with the job as it stands.
    """
    wait_s = waiting.preferred_s(call.exchange.headers)
    if wait_s > 0:
        return await _create_and_wait(call, wait_s)
    enqueued, key = await _enqueue(call)
    if enqueued.replayed_id is not None:
        with look_up.made_before():
            job = await look_up.get_job(call.parts.pool, call.user_id, enqueued.replayed_id)
        return Answer(body=job, headers=[_location(job), idempotency.REPLAYED])
    job = _present(enqueued.jobs[0], enqueued.created_at, key)
    return Answer(status=201, body=job, headers=[_location(job)])


async def create_jobs(call: Call[JobBatch, None]) -> Answer:
    """Accept many jobs, all or none."""
    if "idempotency-key" in call.exchange.headers:
        raise InvalidError(
            "a batch takes no Idempotency-Key: sent again, it makes its jobs again. Where it must "
            f"not, {_ONE_BY_ONE}"
        )
    for n, request in enumerate(call.body.jobs):
        if request.idempotency_key is not None:
            raise InvalidError.at(
                f"/jobs/{n}/idempotency_key", f"is not taken in a batch: {_ONE_BY_ONE}"
            )
        codec.in_utc(request.run_at, f"/jobs/{n}/run_at")
    enqueued = await call.parts.acceptor.enqueue(
        call.user_id,
        call.body.jobs,
        idempotency_key=None,
        fingerprint=None,
        traceparent=call.exchange.traceparent,
        in_batch=True,
    )
    jobs = [_present(job, enqueued.created_at, None) for job in enqueued.jobs]
    return Answer(status=201, body=CreatedJobs(jobs=jobs))


async def get_job(call: Call[None, WaitQuery]) -> Answer:
    """Look one job up, live or finished; with `?wait=N` once it has ended or N seconds later."""
    job = await call.parts.watchers.end_of(call.user_id, call.id, timeout_s=call.query.wait)
    return Answer(body=job)


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/jobs",
        summary="Create a job; `Prefer: wait=N` waits up to 60 seconds for its end",
        handler=create_job,
        body=JobRequest,
        answers={201: Job, 200: Job, 202: Job},
        reads=("Idempotency-Key", "Prefer"),
        tells={
            201: ("Location",),
            200: ("Location", "Idempotent-Replayed", "Preference-Applied"),
            202: ("Location", "Idempotent-Replayed"),
        },
        conflicts="The Idempotency-Key made a job that was deleted since.",
        patience=waiting.by_header,
        needs=Scope.WRITE,
    ),
    Operation(
        method="POST",
        path="/jobs/batch",
        summary="Create up to 1,000 jobs, all or nothing",
        handler=create_jobs,
        body=JobBatch,
        answers={201: CreatedJobs},
        needs=Scope.WRITE,
    ),
    Operation(
        method="GET",
        path="/jobs/{id}",
        summary="Get a job; `wait` waits up to 60 seconds for its end",
        handler=get_job,
        query=WaitQuery,
        patience=waiting.by_query,
        answers={200: Job},
        needs=Scope.READ,
    ),
)


async def _enqueue(
    call: Call[JobRequest, None],
    *,
    first_id: UUID | None = None,
    watch: Watch = Watch.NOBODY,
    durable: bool = True,
) -> tuple[Enqueued, str | None]:
    request = call.body
    codec.in_utc(request.run_at, "/run_at")
    key = idempotency.key_of(call.exchange.headers, request.idempotency_key)
    if request.idempotency_key is not None:
        request = msgspec.structs.replace(request, idempotency_key=None)
    enqueued = await call.parts.acceptor.enqueue(
        call.user_id,
        [request],
        idempotency_key=key,
        fingerprint=None if key is None else idempotency.fingerprint(request),
        traceparent=call.exchange.traceparent,
        first_id=first_id,
        watch=watch,
        durable=durable,
    )
    return enqueued, key


async def _create_and_wait(call: Call[JobRequest, None], wait_s: int) -> Answer:
    watchers, job_id = call.parts.watchers, new_id()
    headers: list[tuple[bytes, bytes]] = []
    # Registered before the job is committed, so that no end of it can be missed.
    with watchers.watch(call.user_id, job_id) as watcher:
        # Its outcome is committed later, and takes it to the disk with it.
        enqueued, key = await _enqueue(call, first_id=job_id, watch=Watch.ITS_END, durable=False)
        if enqueued.replayed_id is not None:
            with look_up.made_before():
                job = await watchers.end_of(call.user_id, enqueued.replayed_id, timeout_s=wait_s)
            headers.append(idempotency.REPLAYED)
        else:
            job = await _until_ended_or_kept(call, watcher, enqueued, key, wait_s)
    headers.append(_location(job))
    if job.status not in TERMINAL:
        return Answer(status=202, body=job, headers=headers)
    return Answer(body=job, headers=[*headers, waiting.applied(wait_s)])


async def _until_ended_or_kept(
    call: Call[JobRequest, None],
    watcher: Watcher,
    enqueued: Enqueued,
    key: str | None,
    wait_s: int,
) -> Job:
    """Return a new job at its end, or as it is N seconds later; in both cases it is on disk."""
    durable = key is not None
    try:
        job = await call.parts.watchers.until_ended(watcher, timeout_s=wait_s)
        if job.status in TERMINAL or durable:
            return job
        await call.parts.acceptor.make_durable()
        # Looked at only now: a crash may have undone what was seen before.
        return await look_up.get_job(call.parts.pool, call.user_id, job.id)
    except UnavailableError:
        if not durable:
            raise
        # The job is kept, whatever became of it: a 503 would say the contrary.
        return _present(enqueued.jobs[0], enqueued.created_at, key)
    except NotFoundError:
        raise UnavailableError(
            "PostgreSQL crashed before the job was on disk: send it again"
        ) from None


def _present(job: NewJob, created_at: datetime, key: str | None) -> Job:
    """Show a job that was stored just now, without asking the database for it."""
    run_at = job.run_at or created_at + timedelta(seconds=job.delay_s or 0)
    return Job(
        id=job.id,
        type=job.type,
        queue=job.queue,
        status=Status.SCHEDULED if run_at > created_at else Status.PENDING,
        priority=job.priority,
        payload=msgspec.Raw(job.payload),
        run_at=run_at.astimezone(UTC) if run_at > created_at else created_at,
        attempt=0,
        max_attempts=job.max_attempts,
        timeout_s=job.timeout_s,
        idempotency_key=key,
        event_id=None,
        result=msgspec.Raw(b"null"),
        last_error=None,
        created_at=created_at,
        started_at=None,
        finished_at=None,
        updated_at=created_at,
    )


def _location(job: Job) -> tuple[bytes, bytes]:
    return (b"location", f"/v1/jobs/{job.id}".encode("ascii"))
