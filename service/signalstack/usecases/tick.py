"""Taking ticks that are due: each becomes a job, or is recorded with the reason why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio.lowlevel

from signalstack.core.document import canonical
from signalstack.core.errors import InvalidError
from signalstack.core.ids import new_id
from signalstack.core.reason import clip, describe
from signalstack.core.schedule import Turn, make_payload, show_tick, take_turn
from signalstack.core.stage import Enqueued, Ticked
from signalstack.store import schedules
from signalstack.store.schedules import Tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.core.handler import Registry
    from signalstack.core.stage import Observer
    from signalstack.store.pool import Pool
    from signalstack.store.schedules import DueSchedule

BATCH: Final = 100  # schedules that one transaction deals with
_HELD_S: Final = 0.05


class Ticker:
    """Takes ticks; any number of them may do so at once, in any number of processes."""

    def __init__(
        self, pool: Pool, registry: Registry, observer: Observer, *, max_attempts: int
    ) -> None:
        self._pool = pool
        self._registry = registry
        self._observer = observer
        self._max_attempts = max_attempts

    async def take_due(self) -> float | None:
        """Take what is due, a batch at most; tell in how many seconds to look again.

        None when no tick is planned at all.

        Raises:
            UnavailableError: PostgreSQL is away; what was not taken is still due.
        """
        async with self._pool.connection() as conn:
            wait_s = await schedules.soonest(conn)
            if wait_s is None or wait_s > 0:
                return wait_s
            found = await schedules.due(conn, limit=BATCH)
        taken = await self.take(found)
        # What its owner is changing just now, or another leader took, is not asked for at once.
        return 0.0 if taken else _HELD_S

    async def take(self, found: Sequence[DueSchedule]) -> int:
        """Decide about schedules that were found due, write what still holds, and count that."""
        ticks: list[Tick] = []
        for schedule in found:
            ticks.append(self._decide(schedule))
            await anyio.lowlevel.checkpoint()  # a worker's jobs run on this event loop too
        async with self._pool.connection() as conn:
            taken = await schedules.tick(conn, ticks=ticks)
        for each in taken:
            self._tell(each)
        return len(taken)

    def _decide(self, schedule: DueSchedule) -> Tick:
        """Make the job of a schedule that is due, or find the reason why there is none."""
        due = schedule.next_tick or schedule.now
        try:
            turn = take_turn(schedule.cadence, due=due, now=schedule.now, misfire=schedule.misfire)
        except InvalidError as error:
            # Without its zone it has no times: it rests until somebody resumes or changes it.
            none = Turn(tick=due, passed=0, dropped=False, next_tick=None)
            return _without_job(schedule, none, "rejected", str(error))
        if turn.dropped:
            return _without_job(schedule, turn, "skipped", None)
        try:
            return self._with_job(schedule, turn)
        except InvalidError as error:
            return _without_job(schedule, turn, "rejected", str(error))
        except Exception as error:  # noqa: BLE001 - a user's own type checks the payload; others wait
            return _without_job(schedule, turn, "rejected", describe(error))

    def _with_job(self, schedule: DueSchedule, turn: Turn) -> Tick:
        job = schedule.wanted_job
        if schedule.suspended:
            raise InvalidError("the tenant is suspended")
        if not schedule.queue_exists:
            raise InvalidError.at("/job/queue", f"{job.queue!r} does not exist any more")
        payload = make_payload(
            job, self._registry, schedule_id=schedule.id, name=schedule.name, tick=turn.tick
        )
        attributes = {"messaging.destination.name": job.queue}
        with self._observer.span(f"send {job.queue}", "producer", attributes=attributes) as span:
            traceparent = span.traceparent
        return Tick(
            id=schedule.id,
            due=schedule.next_tick or schedule.now,
            updated_at=schedule.updated_at,
            tick=turn.tick,
            next_tick=turn.next_tick,
            outcome="enqueued",
            passed=turn.passed,
            job_id=new_id(),
            type=job.type,
            queue=job.queue,
            priority=job.priority,
            max_attempts=job.max_attempts or self._max_attempts,
            timeout_s=job.timeout_s,
            idempotency_key=f"schedule:{schedule.id}:{show_tick(turn.tick)}",
            traceparent=traceparent,
            payload=canonical(payload).decode(),
        )

    def _tell(self, taken: schedules.Ticked) -> None:
        self._observer.tell(Ticked(outcome=taken.outcome, count=1, lag_s=taken.lag_s))
        if taken.passed:
            self._observer.tell(Ticked(outcome="skipped", count=taken.passed, lag_s=taken.lag_s))
        if taken.outcome == "enqueued" and taken.queue is not None and taken.type is not None:
            self._observer.tell(Enqueued(queue=taken.queue, type=taken.type, count=1))


def _without_job(
    schedule: DueSchedule, turn: Turn, outcome: schedules.Outcome, error: str | None
) -> Tick:
    return Tick(
        id=schedule.id,
        due=schedule.next_tick or schedule.now,
        updated_at=schedule.updated_at,
        tick=turn.tick,
        next_tick=turn.next_tick,
        outcome=outcome,
        passed=turn.passed,
        # One that PostgreSQL cannot keep would take the ticks of all others with it.
        error=None if error is None else clip(error),
    )
