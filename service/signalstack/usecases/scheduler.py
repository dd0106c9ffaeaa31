"""The automatic sender as a tenant sees it: started, stopped, and how it gets on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from signalstack.core.errors import UnavailableError
from signalstack.core.message import QUEUE, MessageStatus, Pace, summarise
from signalstack.store import messages, queues
from signalstack.usecases import queue_control

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.store.pool import Pool


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages there have been, by how they stand."""

    pending: int
    sent: int
    failed: int
    cancelled: int


class SchedulerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the tenant's messages are being sent, since when that is so, and how it gets on.

    `next_batch_at` is when the pace, which all tenants share, lets the next message start: null
    while stopped. `last_error` is what went wrong last, if anything did.
    """

    running: bool
    since: datetime
    next_batch_at: datetime | None
    pace: Pace
    totals: Totals
    last_error: str | None


async def turn(pool: Pool, user_id: UUID, *, on: bool) -> SchedulerStatus:
    """Start or stop sending the tenant's messages; in force at once, for all workers.

    Raises:
        ConflictError: the tenant has as many queues of its own as it may.
    """
    await queue_control.pause(pool, user_id, QUEUE, paused=not on)
    return await status(pool, user_id)


async def status(pool: Pool, user_id: UUID) -> SchedulerStatus:
    """Tell how the tenant's sending stands."""
    async with pool.connection(user_id) as conn:
        pace = await queues.pace(conn, user_id=user_id, name=QUEUE)
        totals = summarise(await messages.tally(conn, user_id=user_id)).by_status
        last_error = await messages.last_error(conn, user_id=user_id)
    if pace is None:
        raise UnavailableError("the queue of messages is not set up: is a worker or API starting?")
    return SchedulerStatus(
        running=not pace.paused,
        since=pace.since,
        next_batch_at=None if pace.paused else pace.read_at + timedelta(seconds=pace.wait_s),
        pace=Pace(
            batch_size=pace.rate_limit or 0,
            interval_s=pace.rate_per_s or 0.0,
            workers=pace.concurrency or 0,
        ),
        totals=Totals(
            pending=totals[MessageStatus.PENDING],
            sent=totals[MessageStatus.SENT],
            failed=totals[MessageStatus.FAILED],
            cancelled=totals[MessageStatus.CANCELLED],
        ),
        last_error=last_error,
    )
