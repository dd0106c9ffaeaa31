"""Keeping schedules: checked before they are kept, changed, paused, resumed, and run by hand."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from signalstack.core.cadence import next_tick, parse_cadence
from signalstack.core.errors import ConflictError, InvalidError, NotFoundError
from signalstack.core.ids import new_id
from signalstack.core.job import MAX_TIMEOUT_S, JobRequest, timeout_fault
from signalstack.core.schedule import MAX_SCHEDULES, make_payload, show
from signalstack.store import queues, schedules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from signalstack.core.handler import Registry
    from signalstack.core.schedule import (
        Schedule,
        ScheduleChange,
        ScheduledJob,
        ScheduleRequest,
        StoredSchedule,
    )
    from signalstack.store.pool import Pool
    from signalstack.store.query import Connection
    from signalstack.usecases.accept import Acceptor, Enqueued


async def create(
    pool: Pool,
    user_id: UUID,
    request: ScheduleRequest,
    *,
    registry: Registry,
    max_timeout_s: float = MAX_TIMEOUT_S,
) -> Schedule:
    """Check and store a schedule; it ticks from then on.

    Raises:
        InvalidError: times, zone, job type, payload, queue or timeout are wrong.
        ConflictError: the name is in use, or the tenant has as many as it may.
    """
    schedule_id = new_id()
    _check_timeout(request.job, max_timeout_s)
    async with pool.transaction(user_id) as conn:
        now = await schedules.hold_tenant(conn, user_id=user_id)
        if now is None:
            raise NotFoundError("the tenant of this key is gone")
        cadence = parse_cadence(request.cron, request.timezone, anchor=now)
        make_payload(
            request.job,
            registry,
            schedule_id=schedule_id,
            name=request.name,
            tick=now,
            is_new=True,
        )
        await _check_queue(conn, user_id, request.job.queue)
        if await schedules.count(conn, user_id=user_id) >= MAX_SCHEDULES:
            raise ConflictError(f"a tenant may have {MAX_SCHEDULES:,} schedules")
        stored = await schedules.insert(
            conn,
            user_id=user_id,
            schedule_id=schedule_id,
            request=request,
            now=now,
            next_tick=next_tick(cadence, now),
        )
    if stored is None:
        raise ConflictError(f"there is a schedule named {request.name!r} already")
    return show(stored)


async def list_page(
    pool: Pool, user_id: UUID, *, limit: int, after: UUID | None = None
) -> Sequence[Schedule]:
    """List the tenant's schedules with ids above `after`, oldest first."""
    async with pool.connection(user_id) as conn:
        found = await schedules.list_page(conn, user_id=user_id, after=after, limit=limit)
    return [show(stored) for stored in found]


async def get(pool: Pool, user_id: UUID, schedule_id: UUID) -> Schedule:
    """Find one of the tenant's schedules, or raise NotFoundError."""
    return show(await _find(pool, user_id, schedule_id))


async def change(
    pool: Pool,
    user_id: UUID,
    schedule_id: UUID,
    change: ScheduleChange,
    *,
    registry: Registry,
    max_timeout_s: float = MAX_TIMEOUT_S,
) -> Schedule:
    """Change what is named of a schedule; with other times it begins anew.

    Raises:
        InvalidError: times, zone, job type, payload, queue or timeout are wrong.
        NotFoundError: there is no such schedule.
        ConflictError: the name is in use.
    """
    if change.job:
        _check_timeout(change.job, max_timeout_s)
    async with pool.transaction(user_id) as conn:
        held = await _hold(conn, user_id, schedule_id)
        wanted = msgspec.structs.replace(held, **_named(change))
        if change.job:
            make_payload(
                change.job,
                registry,
                schedule_id=held.id,
                name=wanted.name,
                tick=held.now,
                is_new=True,
            )
            await _check_queue(conn, user_id, change.job.queue)
        if (wanted.cron, wanted.timezone) != (held.cron, held.timezone):
            wanted = _begin(msgspec.structs.replace(wanted, anchor=held.now))
        return show(await _write(conn, user_id, wanted))


async def pause(pool: Pool, user_id: UUID, schedule_id: UUID) -> Schedule:
    """Have a schedule make no jobs until it is resumed; its ticks until then are nobody's."""
    async with pool.transaction(user_id) as conn:
        held = await _hold(conn, user_id, schedule_id)
        if held.paused:
            return show(held)
        paused = msgspec.structs.replace(held, paused=True, next_tick=None)
        return show(await _write(conn, user_id, paused))


async def resume(pool: Pool, user_id: UUID, schedule_id: UUID) -> Schedule:
    """Have a schedule tick again, from its next time on.

    Raises:
        NotFoundError: there is no such schedule.
        ConflictError: its time zone is not known any more.
    """
    async with pool.transaction(user_id) as conn:
        held = await _hold(conn, user_id, schedule_id)
        if held.next_tick is not None:
            return show(held)
        try:
            resumed = _begin(msgspec.structs.replace(held, paused=False))
        except InvalidError as error:
            raise ConflictError(str(error)) from None
        return show(await _write(conn, user_id, resumed))


async def delete(pool: Pool, user_id: UUID, schedule_id: UUID) -> None:
    """Delete one of the tenant's schedules, or raise NotFoundError; its jobs stay."""
    async with pool.connection(user_id) as conn:
        if not await schedules.delete(conn, user_id=user_id, schedule_id=schedule_id):
            raise _unknown(schedule_id)


async def run(
    pool: Pool,
    user_id: UUID,
    schedule_id: UUID,
    *,
    acceptor: Acceptor,
    registry: Registry,
    idempotency_key: str | None,
    traceparent: str | None,
) -> Enqueued:
    """Enqueue a schedule's job now, paused or not; its ticks are not touched.

    Raises:
        NotFoundError: there is no such schedule.
        ConflictError: what the job needs is gone: its type, its queue, a payload that fits.
        InvalidError: the key was used for another request.
    """
    found = await _find(pool, user_id, schedule_id)
    job = found.wanted_job
    try:
        payload = make_payload(job, registry, schedule_id=found.id, name=found.name, tick=found.now)
        async with pool.connection(user_id) as conn:
            await _check_queue(conn, user_id, job.queue)
    except InvalidError as error:
        raise ConflictError(f"the job cannot be made any more: {error}") from None
    request = JobRequest(
        type=job.type,
        queue=job.queue,
        payload=payload,
        priority=job.priority,
        max_attempts=job.max_attempts,
        # It may be older than the limit: then its run ends at that, as those of its ticks do.
        timeout_s=None if job.timeout_s is None else min(job.timeout_s, acceptor.max_timeout_s),
    )
    return await acceptor.enqueue(
        user_id,
        [request],
        idempotency_key=idempotency_key,
        fingerprint=sha256(b"run schedule " + schedule_id.bytes).digest(),
        traceparent=traceparent,
        route="schedules",
    )


def _named(change: ScheduleChange) -> dict[str, Any]:
    """Tell the columns that a change names."""
    given = {
        name: value
        for name, value in msgspec.structs.asdict(change).items()
        if value is not msgspec.UNSET
    }
    if change.job:
        given["job"] = msgspec.Raw(msgspec.json.encode(change.job))
    return given


def _begin(schedule: StoredSchedule) -> StoredSchedule:
    """Plan the next tick from now on, unless it is paused; InvalidError when times are wrong."""
    tick = next_tick(schedule.cadence, schedule.now)
    return msgspec.structs.replace(schedule, next_tick=None if schedule.paused else tick)


def _check_timeout(job: ScheduledJob, most_s: float) -> None:
    if fault := timeout_fault(job.timeout_s, most_s):
        raise InvalidError.at("/job/timeout_s", fault)


async def _check_queue(conn: Connection, user_id: UUID, queue: str) -> None:
    known = await queues.known(conn, user_id=user_id)
    if queue not in known:
        names = ", ".join(sorted(known))
        raise InvalidError.at("/job/queue", f"{queue!r} does not exist; there are: {names}")


async def _find(pool: Pool, user_id: UUID, schedule_id: UUID) -> StoredSchedule:
    async with pool.connection(user_id) as conn:
        found = await schedules.get(conn, user_id=user_id, schedule_id=schedule_id)
    if found is None:
        raise _unknown(schedule_id)
    return found


async def _hold(conn: Connection, user_id: UUID, schedule_id: UUID) -> StoredSchedule:
    held = await schedules.hold(conn, user_id=user_id, schedule_id=schedule_id)
    if held is None:
        raise _unknown(schedule_id)
    return held


async def _write(conn: Connection, user_id: UUID, wanted: StoredSchedule) -> StoredSchedule:
    stored = await schedules.update(conn, user_id=user_id, schedule=wanted)
    if stored is None:
        raise _unknown(wanted.id)
    return stored


def _unknown(schedule_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no schedule {schedule_id}")
