"""Accepting work: checked, matched and committed, or refused with a reason; never half of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.document import canonical
from signalstack.core.errors import InvalidError, LateError, UnavailableError
from signalstack.core.fit import fit
from signalstack.core.ids import new_id
from signalstack.core.job import MAX_TIMEOUT_S, JobRef, NewJob, Watch, timeout_fault
from signalstack.core.message import queue_fault
from signalstack.core.stage import Enqueued as EnqueuedFact
from signalstack.core.stage import EventReceived
from signalstack.store import idempotency
from signalstack.store.writes import Key, Write
from signalstack.usecases import look_up
from signalstack.usecases.aside import in_thread, turn_of
from signalstack.usecases.matching import Matchers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from signalstack.core.event import NewEvent
    from signalstack.core.handler import Registry
    from signalstack.core.job import JobRequest
    from signalstack.core.stage import Observer, Span
    from signalstack.store.intake import Intake
    from signalstack.store.pool import Pool
    from signalstack.store.writes import Owner, Receipt
    from signalstack.usecases.matching import Matcher
    from signalstack.usecases.queues import KnownQueues

# Each round that finds the subscriptions changed again needs another change within a millisecond.
_MATCH_TRIES: Final = 10
_JOBS: Final = "jobs"
_EVENTS: Final = "events"
# Of a span whose jobs there are not: a repeat, or an event that is matched anew.
_NOT_STORED: Final = {"signalstack.stored": False}


class Enqueued(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request for jobs; `replayed_id` is the job that an earlier request made."""

    jobs: Sequence[NewJob]
    created_at: datetime
    replayed_id: UUID | None


class AcceptedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event: stored now, or found as a repeat of an earlier one."""

    id: UUID
    type: str
    created_at: datetime
    jobs: list[JobRef]
    replayed: bool


class Acceptor:
    """Takes jobs and events in for one API process."""

    def __init__(
        self,
        pool: Pool,
        intake: Intake,
        registry: Registry,
        observer: Observer,
        queues: KnownQueues,
        *,
        max_attempts: int,
        max_timeout_s: float = MAX_TIMEOUT_S,
    ) -> None:
        self._pool = pool
        self._intake = intake
        self._registry = registry
        self._observer = observer
        self._queues = queues
        self._matchers = Matchers(pool)
        self._max_attempts = max_attempts
        self.max_timeout_s = max_timeout_s

    async def enqueue(
        self,
        user_id: UUID,
        jobs: Sequence[JobRequest],
        *,
        idempotency_key: str | None,
        fingerprint: bytes | None,
        traceparent: str | None,
        first_id: UUID | None = None,
        watch: Watch = Watch.NOBODY,
        durable: bool = True,
        route: str = _JOBS,
        in_batch: bool = False,
    ) -> Enqueued:
        """Store jobs, all or none.

        Who waits for the first one names its id beforehand, and has its changes announced; until
        its end is known they need not be `durable` (see `make_durable`). Jobs with a key always
        are: a repeat may be answered at any moment. Those of one `route` are apart from others'.

        Raises:
            InvalidError: a job is wrong, or the key was used for another request. Faults point
                into the job, behind `/jobs/<n>` when they came `in_batch`.
            UnavailableError: PostgreSQL is away; nothing is known to be stored.
        """
        for n, request in enumerate(jobs):
            prefix = f"/jobs/{n}" if in_batch else ""
            self._check(request, prefix)
            if not self._queues.knows(user_id, request.queue):
                await self._queues.check(user_id, request.queue, f"{prefix}/queue")
        made = [self._make(request, watch) for request in jobs]
        if first_id is not None:
            made[0] = msgspec.structs.replace(made[0], id=first_id)
        key = _key(route, idempotency_key, fingerprint)
        write = Write(user_id=user_id, jobs=made, key=key, durable=durable or key is not None)
        receipt, stored = await self._store(write, traceparent)
        replayed_id = None if receipt.stored else _owner(receipt.owner, key).ref
        return Enqueued(jobs=stored, created_at=receipt.created_at, replayed_id=replayed_id)

    async def make_durable(self) -> None:
        """Return once all that was stored so far survives a crash of PostgreSQL.

        Raises:
            UnavailableError: PostgreSQL is away.
        """
        await self._intake.flush_wal()

    async def accept_event(
        self,
        user_id: UUID,
        event: NewEvent,
        *,
        idempotency_key: str | None,
        fingerprint: bytes | None,
        traceparent: str | None,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> AcceptedEvent:
        """Store an event and the jobs that the tenant's subscriptions make of it.

        An event that has an id of its sender's is known by its source and that id, whatever else
        it says (CloudEvents 1.0, 3.1.1); any other one by the idempotency key, if given.

        Raises:
            InvalidError: the key was used for another request.
            LateError: matching it takes long, and when its turn came it `may_begin` no more.
            ConflictError: it was accepted before, and was removed since.
            UnavailableError: PostgreSQL is away; nothing is known to be stored.
        """
        if event.external_id is not None:
            known_by = f"{event.source or ''}\x00{event.external_id}".encode()
            key = Key(route=_EVENTS, key=sha256(known_by).hexdigest(), fingerprint=b"")
        else:
            key = _key(_EVENTS, idempotency_key, fingerprint)
        matcher = await self._matchers.get(user_id)
        for _ in range(_MATCH_TRIES):
            made = matcher.match_at_once(event, max_attempts=self._max_attempts)
            if made is None:
                async with turn_of(user_id):
                    # Not for a repeat: a batch that did not get through would never get further.
                    owner = await self._find(user_id, key)
                    if owner is None:
                        made = await self._match_aside(matcher, event, may_begin)
                if made is None:
                    return await self._replay(user_id, _owner(owner, key).ref)
            write = Write(user_id=user_id, jobs=made, event=event, version=matcher.version, key=key)
            receipt, stored = await self._store(write, traceparent)
            if receipt.stored:
                self._observer.tell(EventReceived(outcome="accepted"))
                refs = [JobRef(id=job.id, type=job.type, queue=job.queue) for job in stored]
                return AcceptedEvent(
                    id=event.id,
                    type=event.type,
                    created_at=receipt.created_at,
                    jobs=refs,
                    replayed=False,
                )
            if receipt.owner is not None:
                return await self._replay(user_id, _owner(receipt.owner, key).ref)
            matcher = await self._matchers.reload(user_id)
        raise UnavailableError("the subscriptions change faster than an event can be matched")

    async def _find(self, user_id: UUID, key: Key | None) -> Owner | None:
        if key is None:
            return None
        async with self._pool.connection() as conn:
            return await idempotency.find(conn, user_id=user_id, key=key)

    async def _match_aside(
        self, matcher: Matcher, event: NewEvent, may_begin: Callable[[], bool]
    ) -> list[NewJob]:
        if not may_begin():
            raise LateError("the subscriptions take too long for this event")
        return await in_thread(partial(matcher.match, event, max_attempts=self._max_attempts))

    async def _replay(self, user_id: UUID, event_id: UUID) -> AcceptedEvent:
        self._observer.tell(EventReceived(outcome="duplicate"))
        with look_up.made_before():
            found = await look_up.get_event(self._pool, user_id, event_id)
        return AcceptedEvent(
            id=found.id,
            type=found.type,
            created_at=found.created_at,
            jobs=[JobRef(id=job.id, type=job.type, queue=job.queue) for job in found.jobs],
            replayed=True,
        )

    def _check(self, request: JobRequest, prefix: str) -> None:
        job_type = self._registry.get(request.type)
        if job_type is None:
            known = ", ".join(sorted(self._registry))
            detail = f"{request.type!r} does not exist; there are: {known}"
            raise InvalidError.at(f"{prefix}/type", detail)
        if fault := queue_fault(request.type, request.queue):
            raise InvalidError.at(f"{prefix}/queue", fault)
        if fault := timeout_fault(request.timeout_s, self.max_timeout_s):
            raise InvalidError.at(f"{prefix}/timeout_s", fault)
        if request.run_at is not None and request.delay_s is not None:
            raise InvalidError.at(f"{prefix}/delay_s", "give either run_at or delay_s")
        fit(request.payload, job_type.payload, f"{prefix}/payload")

    def _make(self, request: JobRequest, watch: Watch) -> NewJob:
        return NewJob(
            id=new_id(),
            type=request.type,
            payload=canonical(request.payload),
            queue=request.queue,
            priority=request.priority,
            run_at=request.run_at,
            delay_s=request.delay_s,
            max_attempts=request.max_attempts or self._max_attempts,
            timeout_s=request.timeout_s,
            watch=watch,
        )

    async def _store(
        self, write: Write, traceparent: str | None
    ) -> tuple[Receipt, Sequence[NewJob]]:
        """Commit a write inside a span for each queue; the jobs carry its context on."""
        queues = _by_queue(write.jobs)
        if len(queues) == 1:  # nearly always, and a stack takes longer than all the rest
            ((queue, of_queue),) = queues.items()
            with self._sending(queue, traceparent) as span:
                context = _note(span, of_queue) or traceparent
                if context is not None:
                    write = _in_context(write, {queue: context})
                receipt = await self._intake.submit(write)
                if not receipt.stored:
                    span.set(_NOT_STORED)
        else:
            with ExitStack() as stack:
                spans = {
                    queue: stack.enter_context(self._sending(queue, traceparent))
                    for queue in queues
                }
                contexts = {
                    queue: _note(spans[queue], of_queue) or traceparent
                    for queue, of_queue in queues.items()
                }
                write = _in_context(write, contexts)
                receipt = await self._intake.submit(write)
                for span in spans.values() if not receipt.stored else ():
                    span.set(_NOT_STORED)
        if receipt.stored:
            for (queue, type_), count in _tally(write.jobs).items():
                self._observer.tell(EnqueuedFact(queue=queue, type=type_, count=count))
        return receipt, write.jobs

    def _sending(self, queue: str, traceparent: str | None) -> AbstractContextManager[Span]:
        return self._observer.span(f"send {queue}", "producer", parent=traceparent)


def _by_queue(jobs: Sequence[NewJob]) -> Mapping[str, Sequence[NewJob]]:
    if len(jobs) == 1:
        return {jobs[0].queue: jobs}
    queues: dict[str, list[NewJob]] = {}
    for job in jobs:
        queues.setdefault(job.queue, []).append(job)
    return queues


def _tally(jobs: Sequence[NewJob]) -> dict[tuple[str, str], int]:
    """Count jobs by queue and type; Counter takes ten times as long for one."""
    counts: dict[tuple[str, str], int] = {}
    for job in jobs:
        kind = (job.queue, job.type)
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _note(span: Span, jobs: Sequence[NewJob]) -> str | None:
    """Say in a span what is sent in it, if somebody sees that; returns the span's context.

    One message is named, several are counted: OpenTelemetry has either, never both.
    """
    if span.recorded:
        if len(jobs) > 1:
            span.set({"messaging.batch.message_count": len(jobs)})
        else:
            (job,) = jobs
            span.set({"messaging.message.id": str(job.id), "signalstack.job.type": job.type})
    return span.traceparent


def _in_context(write: Write, contexts: Mapping[str, str | None]) -> Write:
    """Let the jobs carry the trace contexts of their queues, if there are any."""
    if not any(contexts.values()):
        return write
    replace = msgspec.structs.replace
    return replace(
        write, jobs=[replace(job, traceparent=contexts[job.queue]) for job in write.jobs]
    )


def _key(route: str, key: str | None, fingerprint: bytes | None) -> Key | None:
    if key is None:
        return None
    return Key(route=route, key=key, fingerprint=fingerprint or b"")


def _owner(owner: Owner | None, key: Key | None) -> Owner:
    """Return who owns the key; InvalidError when it was first used for something else."""
    if owner is None or key is None:
        raise RuntimeError("a write without a key cannot be a repeat")
    if owner.fingerprint != key.fingerprint:
        raise InvalidError.at(
            "/idempotency_key", "was used for a request with another body in the last 24 hours"
        )
    return owner
