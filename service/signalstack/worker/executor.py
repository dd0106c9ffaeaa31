"""The slots of a worker: long-lived tasks that take leased jobs and run their handlers.

A slot outlives its jobs because creating a task costs as much as everything else that is done for
a quick one. What a handler leaves behind in its slot (context variables, a cancellation that it
asked for itself or that stopped it) would reach the next job, so such a slot is replaced by a
fresh one.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from itertools import chain
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec

from signalstack.core.handler import Fail, Retry
from signalstack.core.job import Outcome, Wake
from signalstack.core.log import bind, get_logger, unbind
from signalstack.core.stage import Finished, Started
from signalstack.store.claims import NIL
from signalstack.store.outcomes import Ended
from signalstack.worker.prefetch import Prefetch
from signalstack.worker.run import Run
from signalstack.worker.seat import Seat, is_from_outside
from signalstack.worker.verdict import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from random import Random
    from uuid import UUID

    from anyio.abc import TaskGroup

    from signalstack.core.stage import Observer, Span
    from signalstack.store.claims import Lease
    from signalstack.worker.reading import Reader
    from signalstack.worker.run import Stop
    from signalstack.worker.verdict import RetryPolicy

RESULT_LIMIT: Final = 262_144
# Quick handlers never give way by themselves: let the loop breathe after so many.
_BURST: Final = 32
# Tenants make queues, and anybody who may connect sends notifications.
_RESUMED_LIMIT: Final = 1_000
# What was found late is told as that, also where it had to wait for a slot besides.
_FOUND_LATE: Final = frozenset({Wake.POLL, Wake.RESCUE})

_log: Final = get_logger("signalstack.worker")


class Executor:
    """Runs leased jobs, at most `concurrency` at a time, and hands their ends to `on_ended`."""

    def __init__(
        self,
        reader: Reader,
        observer: Observer,
        *,
        now: Callable[[], float],
        on_ended: Callable[[Ended], None],
        on_room: Callable[[], None],
        concurrency: int,
        timeout_s: float,
        max_timeout_s: float,
        policy: RetryPolicy,
        rng: Random,
    ) -> None:
        self._reader = reader
        self._observer = observer
        self._now = now
        self._on_ended = on_ended
        self._on_room = on_room
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._max_timeout_s = max_timeout_s
        self._policy = policy
        self._rng = rng
        self._threads = anyio.CapacityLimiter(concurrency)
        self._waiting: deque[Lease] = deque()
        self._idle: deque[anyio.Event] = deque()
        self._runs: set[Run] = set()
        self._queued = anyio.Event()
        self._quiet: anyio.Event | None = None  # somebody waits for it
        self._earliest = inf
        self._deadline_moved = anyio.Event()
        self._full_until = 0.0  # when a slot last came free where none was: Unix time
        # Tenants' queues that were paused or limited until then: Unix time.
        self._resumed_at: dict[tuple[bytes, str], float] = {}
        self._prefetch = Prefetch(concurrency)

    @property
    def busy(self) -> int:
        """How many handlers run right now."""
        return len(self._runs)

    @property
    def free(self) -> int:
        """How many slots have nothing to do and nothing to come."""
        return self._concurrency - len(self._runs) - len(self._waiting)

    @property
    def waiting(self) -> int:
        """How many leased jobs wait for a slot."""
        return len(self._waiting)

    async def run(self) -> None:
        """Keep the slots until cancelled."""
        async with anyio.create_task_group() as slots:
            slots.start_soon(self._keep_deadlines)
            for _ in range(self._concurrency):
                slots.start_soon(self._slot, slots)
        # Without slots the heartbeat would keep jobs that nobody runs from being rescued.
        raise RuntimeError("the slots ended by themselves")

    def room(self) -> int:
        """Tell how many more jobs to lease: the free slots, and a few ahead when jobs are quick."""
        return self._concurrency + self._prefetch.ahead() - len(self._runs) - len(self._waiting)

    def put(self, leases: Sequence[Lease], *, more: bool) -> None:
        """Take in what a claim leased, and whether it left more."""
        self._prefetch.claimed(len(leases), more=more, dry=not self._waiting)
        self.take(*leases)

    def resumed(self, user_id: bytes, queue: str) -> None:
        """Note that a tenant's queue was held up to now: what is due there waited for that.

        That of nobody (NIL) is the queue of all tenants.
        """
        self._resumed_at.pop((user_id, queue), None)  # the longest ago comes first
        if len(self._resumed_at) >= _RESUMED_LIMIT:
            del self._resumed_at[next(iter(self._resumed_at))]
        self._resumed_at[user_id, queue] = self._now()

    def take(self, *leases: Lease) -> None:
        """Take leased jobs in."""
        self._waiting.extend(leases)
        if leases:
            self._prefetch.resume()
        for _ in range(min(len(self._waiting), len(self._idle))):
            self._idle.popleft().set()
        self._queued.set()

    def take_back(self) -> list[Lease]:
        """Give up all jobs that wait for a slot."""
        leases = list(self._waiting)
        self._waiting.clear()
        self._prefetch.forget()
        return leases

    @property
    def oldest(self) -> Lease | None:
        """The leased job that waits for a slot the longest."""
        return self._waiting[0] if self._waiting else None

    async def until_waiting(self) -> None:
        """Return when leased jobs wait for a slot."""
        while not self._waiting:
            self._queued = anyio.Event()
            await self._queued.wait()

    async def until_idle(self) -> None:
        """Return when no handler runs."""
        while self._runs:
            self._quiet = anyio.Event()
            await self._quiet.wait()
        self._quiet = None

    @property
    def running(self) -> list[Lease]:
        """The jobs whose handlers run right now."""
        return [run.lease for run in self._runs]

    def find(self, job_id: UUID) -> Lease | None:
        """Tell the lease of a job that runs, or waits for a slot."""
        leases = chain((run.lease for run in self._runs), self._waiting)
        return next((lease for lease in leases if lease.job_id == job_id), None)

    def cancel(self, job_id: UUID) -> Lease | None:
        """Stop a job: its handler is told, or its lease is returned where it had not begun."""
        for run in self._runs:
            if run.lease.job_id == job_id:
                run.end("cancelled")
                return None
        lease = self.find(job_id)
        if lease is not None:
            self._waiting.remove(lease)
        return lease

    def end_all(self, stop: Stop) -> None:
        """Tell every running handler to stop."""
        for run in list(self._runs):
            run.end(stop)

    async def _keep_deadlines(self) -> None:
        """End runs at their deadlines: one timer for all, since few runs ever reach theirs."""
        while True:
            self._deadline_moved = anyio.Event()
            with anyio.move_on_after(max(self._earliest - perf_counter(), 0.0)):
                await self._deadline_moved.wait()
                continue
            now = perf_counter()
            for run in [run for run in self._runs if run.ends_at <= now]:
                run.scope.cancel()
            self._earliest = min(
                (run.ends_at for run in self._runs if run.ends_at > now), default=inf
            )

    async def _slot(self, slots: TaskGroup) -> None:
        clean = copy_context()
        task = cast("asyncio.Task[None]", asyncio.current_task())
        seat = Seat()
        burst = 0
        try:
            while not (seat.spent or task.cancelling() or copy_context() != clean):
                if not self._waiting:
                    await self._until_free()
                    burst = 0
                    continue
                await self._execute(self._waiting.popleft(), seat)
                burst += 1
                if burst >= _BURST:
                    burst = 0
                    self._on_room()
                    await anyio.lowlevel.cancel_shielded_checkpoint()
        except BaseException as error:
            rest = seat.leave(error)
            # What a handler did to its task may be felt after its end.
            if not (rest is None or _is_own_cancellation(rest)):
                raise
        else:
            seat.leave()
        # A task begins with the context of who starts it: that must not be this one.
        clean.run(slots.start_soon, self._slot, slots, name="slot")
        await _shake_off()

    async def _until_free(self) -> None:
        free = anyio.Event()
        self._idle.append(free)
        if len(self._idle) == self._concurrency:
            self._prefetch.rest()
        self._on_room()
        try:
            await free.wait()
        except asyncio.CancelledError as error:
            with suppress(ValueError):
                self._idle.remove(free)
            # What an earlier handler left running may cancel the task that it once ran in.
            if is_from_outside(error):
                raise

    async def _execute(self, lease: Lease, seat: Seat) -> None:
        started_at = self._now()
        began = perf_counter()
        first = lease.attempt == 1
        with self._observer.span(
            f"process {lease.queue}",
            "consumer",
            parent=lease.traceparent if first else None,
            link=None if first else lease.traceparent,
        ) as span:
            if span.recorded:
                span.set(_attributes(lease))
            # Told inside the span, which stands beside the figures as their example.
            self._observer.tell(
                Started(
                    job=lease.job_id,
                    queue=lease.queue,
                    type=lease.type,
                    attempt=lease.attempt,
                    wake=self._wake_of(lease),
                    due_at=lease.due_at,
                    at=started_at,
                )
            )
            timeout_s = self._limit_s(lease)
            run = Run(
                lease,
                seat.scope,
                deadline_at=started_at + timeout_s,
                ends_at=began + timeout_s,
                span=span,
            )
            self._begin(run)
            bound = bind(job_id=lease.job_id, attempt=lease.attempt)
            try:
                verdict, result = await self._call(run, seat, span)
            finally:
                self._end(run)
                unbind(bound)
            duration_s = perf_counter() - began
            self._observer.tell(
                Finished(
                    job=lease.job_id,
                    queue=lease.queue,
                    type=lease.type,
                    attempt=lease.attempt,
                    outcome=verdict.outcome,
                    duration_s=duration_s,
                )
            )
        self._prefetch.ended += 1
        self._on_ended(
            Ended(
                lease=lease,
                outcome=verdict.outcome,
                # Put off is as if it had not begun: what is said of it must take no attempt.
                started_at=None if verdict.outcome is Outcome.POSTPONED else started_at,
                finished_at=started_at + duration_s,
                error=verdict.error,
                result=result,
                delay_s=verdict.delay_s,
            )
        )

    def _begin(self, run: Run) -> None:
        self._runs.add(run)
        if run.ends_at < self._earliest:
            self._earliest = run.ends_at
            self._deadline_moved.set()

    def _wake_of(self, lease: Lease) -> Wake:
        """Tell why a run starts: what came due in a pause or with no slot free waited for that."""
        if lease.wake not in _FOUND_LATE and (
            lease.due_at <= self._full_until
            or (self._resumed_at and lease.due_at <= self._held_until(lease))
        ):
            return Wake.BACKLOG
        return lease.wake

    def _held_until(self, lease: Lease) -> float:
        return max(
            self._resumed_at.get((lease.user_id, lease.queue), 0.0),
            self._resumed_at.get((NIL, lease.queue), 0.0),
        )

    def _end(self, run: Run) -> None:
        if len(self._runs) >= self._concurrency:
            self._full_until = self._now()
        self._runs.discard(run)
        if self._quiet is not None and not self._runs:
            self._quiet.set()

    async def _call(self, run: Run, seat: Seat, span: Span) -> tuple[Verdict, bytes | None]:
        lease = run.lease
        try:
            try:
                payload = lease.payload
                if payload is None:
                    payload = await self._reader.fetch(lease)
                job_type, value = self._reader.read(lease, payload)
                if job_type.is_async:
                    returned = await cast("Awaitable[object]", job_type.run(value, run))
                else:
                    # The thread cannot be stopped: it is left alone and told by context.cancelled.
                    returned = await anyio.to_thread.run_sync(
                        job_type.run, value, run, abandon_on_cancel=True, limiter=self._threads
                    )
                result = None if returned is None else _encode(returned)
            finally:
                seat.tidy()
        except BaseException as error:
            rest = seat.leave(error) if seat.spent else error
            if rest is None:
                verdict = self._judge_stopped(run)
                span.set({"error.type": run.stop or "timeout"})
                span.fail(verdict.error or "")
                return verdict, None
            if is_from_outside(rest):
                raise
            verdict = self._judge(run, rest)
            if verdict.outcome is Outcome.POSTPONED:  # the pace of the work and no fault
                return verdict, None
            # The type alone: what an exception says may quote the payload.
            kind = type(rest).__qualname__
            span.set({"error.type": kind})
            span.fail(kind)
            _log.warning(
                "job_failed",
                type=lease.type,
                queue=lease.queue,
                outcome=verdict.outcome.value,
                error=verdict.error,
                at=_place(rest),
                retry_in_s=verdict.delay_s if verdict.outcome is Outcome.RETRIED else None,
            )
            return verdict, None
        return _SUCCEEDED, result

    def _limit_s(self, lease: Lease) -> float:
        """Tell how long a run may take; a job that SQL or an older API stored may ask for more."""
        asked_s = lease.timeout_s
        return self._timeout_s if asked_s is None else min(asked_s, self._max_timeout_s)

    def _judge_stopped(self, run: Run) -> Verdict:
        if run.stop == "cancelled":
            return Verdict(outcome=Outcome.CANCELLED, error="cancelled while it ran")
        if run.stop is not None:
            return Verdict(outcome=Outcome.RELEASED, error=f"handed back: {run.stop}")
        limit_s = self._limit_s(run.lease)
        return self._judge(run, TimeoutError(f"the job ran longer than {limit_s:g} s"))

    def _judge(self, run: Run, error: BaseException) -> Verdict:
        verdict = judge(
            error,
            # What a handler raises because it was told to stop must not use its last attempt up.
            attempt=run.lease.attempt if run.stop is None else 0,
            max_attempts=run.lease.max_attempts,
            postponed_s=_age_s(run.lease.postponed_at, self._now()),
            policy=self._policy,
            rng=self._rng.random,
        )
        if run.stop is not None and verdict.outcome is Outcome.RETRIED:
            return Verdict(outcome=Outcome.RELEASED, error=verdict.error)
        return verdict


_SUCCEEDED: Final = Verdict(outcome=Outcome.SUCCEEDED)


def _attributes(lease: Lease) -> dict[str, str | float | bool]:
    return {
        "messaging.message.id": str(lease.job_id),
        "signalstack.job.type": lease.type,
        "signalstack.job.attempt": lease.attempt,
        "signalstack.wake": lease.wake.value,
    }


def _place(error: BaseException) -> str | None:
    """Tell the line that raised, of a handler's own error: a KeyError says little by itself."""
    place = None
    if not isinstance(error, Retry | Fail):
        for frame, line in traceback.walk_tb(error.__traceback__):
            place = f"{frame.f_code.co_filename}:{line}"
    return place


def _age_s(since: float | None, now: float) -> float:
    return 0.0 if since is None else now - since


def _is_own_cancellation(error: BaseException) -> bool:
    return isinstance(error, asyncio.CancelledError) and not is_from_outside(error)


async def _shake_off() -> None:
    """Take a cancellation that is still on its way: in a task that ends, it would end all slots."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


def _encode(returned: object) -> bytes:
    try:
        result = msgspec.json.encode(returned)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Fail(f"the result is not JSON: {error}") from error
    if len(result) > RESULT_LIMIT:
        raise Fail(f"the result has {len(result)} bytes, more than {RESULT_LIMIT}")
    return result
