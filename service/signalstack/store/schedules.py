"""Tables schedules and schedule_ticks: what is to be made when, and which ticks were dealt with."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import msgspec
from psycopg.errors import UniqueViolation

from signalstack.core.errors import ConflictError
from signalstack.core.schedule import StoredSchedule
from signalstack.store.query import Query, execute, fetch_all, fetch_one, fetch_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.core.schedule import ScheduleRequest
    from signalstack.store.query import Connection

Outcome = Literal["enqueued", "skipped", "duplicate", "rejected"]


class DueSchedule(StoredSchedule, frozen=True, kw_only=True):
    """A schedule whose next tick has come, and whether its tenant and queue are there for it."""

    suspended: bool
    queue_exists: bool


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about a schedule that was found due at `due`, when it said `updated_at`.

    The fields from `job_id` on are those of the job, for the outcome `enqueued` alone.
    """

    id: UUID
    due: datetime
    updated_at: datetime
    tick: datetime
    next_tick: datetime | None
    outcome: Outcome
    passed: int
    error: str | None = None
    job_id: UUID | None = None
    type: str | None = None
    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    timeout_s: float | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None
    payload: str | None = None


class _Soonest(msgspec.Struct, frozen=True, kw_only=True):
    """In how many seconds the next tick comes; None when none is planned."""

    wait_s: float | None


class Ticked(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a tick; `lag_s` is how long it had been due."""

    id: UUID
    outcome: Outcome
    passed: int
    type: str | None
    queue: str | None
    lag_s: float


_HOLD_TENANT: Final = Query("schedules/hold_tenant", datetime)
_COUNT: Final = Query("schedules/count", int)
_INSERT: Final = Query("schedules/insert", StoredSchedule)
_LIST: Final = Query("schedules/list", StoredSchedule)
_GET: Final = Query("schedules/get", StoredSchedule)
_HOLD: Final = Query("schedules/hold", StoredSchedule)
_UPDATE: Final = Query("schedules/update", StoredSchedule)
_DELETE: Final = Query("schedules/delete", int)
_SOONEST: Final = Query("schedules/soonest", _Soonest)
_DUE: Final = Query("schedules/due", DueSchedule)
_TICK: Final = Query("schedules/tick", Ticked)
_FORGET: Final = Query("schedules/forget_ticks", int)


async def hold_tenant(conn: Connection, *, user_id: UUID) -> datetime | None:
    """Keep others from making schedules of this tenant's until commit; return the time.

    None when there is no such tenant.
    """
    return await fetch_value(conn, _HOLD_TENANT, user_id=user_id)


async def count(conn: Connection, *, user_id: UUID) -> int:
    """Count the tenant's schedules."""
    return await fetch_value(conn, _COUNT, user_id=user_id) or 0


async def insert(
    conn: Connection,
    *,
    user_id: UUID,
    schedule_id: UUID,
    request: ScheduleRequest,
    now: datetime,
    next_tick: datetime | None,
) -> StoredSchedule | None:
    """Store a new schedule; None when the tenant has one of that name."""
    return await fetch_one(
        conn,
        _INSERT,
        id=schedule_id,
        user_id=user_id,
        name=request.name,
        cron=request.cron,
        timezone=request.timezone,
        misfire=request.misfire.value,
        job=msgspec.json.encode(request.job).decode(),
        now=now,
        next_tick=next_tick,
    )


async def list_page(
    conn: Connection, *, user_id: UUID, after: UUID | None, limit: int
) -> list[StoredSchedule]:
    """List the tenant's schedules with ids above `after`, oldest first."""
    return await fetch_all(conn, _LIST, user_id=user_id, after=after, limit=limit)


async def get(conn: Connection, *, user_id: UUID, schedule_id: UUID) -> StoredSchedule | None:
    """Find one of the tenant's schedules."""
    return await fetch_one(conn, _GET, user_id=user_id, id=schedule_id)


async def hold(conn: Connection, *, user_id: UUID, schedule_id: UUID) -> StoredSchedule | None:
    """Find one of the tenant's schedules, and keep it as it is until commit."""
    return await fetch_one(conn, _HOLD, user_id=user_id, id=schedule_id)


async def update(
    conn: Connection, *, user_id: UUID, schedule: StoredSchedule
) -> StoredSchedule | None:
    """Write what its owner says of a schedule that is held, with its anchor and next tick.

    Raises:
        ConflictError: another one of the tenant's has the name.
    """
    try:
        return await fetch_one(
            conn,
            _UPDATE,
            id=schedule.id,
            user_id=user_id,
            name=schedule.name,
            cron=schedule.cron,
            timezone=schedule.timezone,
            misfire=schedule.misfire.value,
            job=bytes(schedule.job).decode(),
            paused=schedule.paused,
            anchor=schedule.anchor,
            next_tick=schedule.next_tick,
        )
    except UniqueViolation:
        raise ConflictError(f"there is a schedule named {schedule.name!r} already") from None


async def delete(conn: Connection, *, user_id: UUID, schedule_id: UUID) -> bool:
    """Delete one of the tenant's schedules; tell whether there was one."""
    return await execute(conn, _DELETE, user_id=user_id, id=schedule_id) > 0


async def soonest(conn: Connection) -> float | None:
    """Tell in how many seconds the next tick of all comes; None when none is planned."""
    found = await fetch_one(conn, _SOONEST)
    return None if found is None else found.wait_s


async def due(conn: Connection, *, limit: int) -> list[DueSchedule]:
    """List schedules whose next tick has come, those that have waited longest first."""
    return await fetch_all(conn, _DUE, limit=limit)


async def tick(conn: Connection, *, ticks: Sequence[Tick]) -> list[Ticked]:
    """Record ticks and make their jobs in one transaction; what changed meanwhile is left out."""
    return await fetch_all(
        conn,
        _TICK,
        ids=[each.id for each in ticks],
        due=[each.due for each in ticks],
        updated=[each.updated_at for each in ticks],
        ticks=[each.tick for each in ticks],
        next_ticks=[each.next_tick for each in ticks],
        outcomes=[each.outcome for each in ticks],
        passed=[each.passed for each in ticks],
        errors=[each.error for each in ticks],
        jobs=[each.job_id for each in ticks],
        types=[each.type for each in ticks],
        queues=[each.queue for each in ticks],
        priorities=[each.priority for each in ticks],
        max_attempts=[each.max_attempts for each in ticks],
        timeouts=[each.timeout_s for each in ticks],
        keys=[each.idempotency_key for each in ticks],
        traceparents=[each.traceparent for each in ticks],
        payloads=[each.payload for each in ticks],
    )


async def forget_ticks(conn: Connection, *, keep_s: float, limit: int) -> int:
    """Forget up to `limit` ticks older than `keep_s` seconds; returns how many there were."""
    return await execute(conn, _FORGET, keep_s=keep_s, limit=limit)
