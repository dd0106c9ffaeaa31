"""Messages: accepting one as a job of the sender's, looking them up, and how fast they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core.endpoint_config import Rate
from signalstack.core.errors import Fault, InvalidError, NotFoundError
from signalstack.core.job import JobRequest
from signalstack.core.message import (
    JOB_TYPE,
    QUEUE,
    Message,
    MessageStats,
    MessageStatus,
    summarise,
)
from signalstack.core.queue import Limits
from signalstack.store import audit, messages, queues
from signalstack.usecases.look_up import made_before

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from signalstack.core.job import NewJob
    from signalstack.core.message import MessageFilter, MessageRequest, Pace
    from signalstack.store.cache import MessageCache
    from signalstack.store.pool import Pool
    from signalstack.usecases.accept import Acceptor

_PAYLOAD: Final = "/payload"


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it was stored, or (`replayed`) the one of an earlier request."""

    message: Message
    replayed: bool


async def accept(
    pool: Pool,
    acceptor: Acceptor,
    user_id: UUID,
    request: MessageRequest,
    *,
    idempotency_key: str | None,
    fingerprint: bytes | None,
    traceparent: str | None,
) -> Accepted:
    """Store a message and the job that sends it.

    The message's row is written by a trigger on jobs, so it is there whichever way its job came.

    Raises:
        InvalidError: the number or the text is wrong, or the key was used for another request.
        ConflictError: the key made a message that was removed since.
        UnavailableError: PostgreSQL is away; nothing is known to be stored.
    """
    job = JobRequest(type=JOB_TYPE, queue=QUEUE, payload=msgspec.to_builtins(request))
    try:
        enqueued = await acceptor.enqueue(
            user_id,
            [job],
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            traceparent=traceparent,
            route=QUEUE,
        )
    except InvalidError as error:
        raise _in_request(error) from None
    if enqueued.replayed_id is not None:
        with made_before():
            message = await get(pool, user_id, enqueued.replayed_id)
        return Accepted(message=message, replayed=True)
    made = _present(request, enqueued.jobs[0], enqueued.created_at)
    return Accepted(message=made, replayed=False)


async def look_up(
    pool: Pool, cache: MessageCache | None, user_id: UUID, message_id: UUID
) -> Message:
    """Find one of the tenant's messages, a sent one where it is at hand, or raise NotFoundError."""
    if cache is None:
        return await get(pool, user_id, message_id)
    kept = await cache.get(user_id, message_id)
    if kept is not None:
        return kept
    found = await get(pool, user_id, message_id)
    await cache.put(user_id, found)
    return found


async def get(pool: Pool, user_id: UUID, message_id: UUID) -> Message:
    """Find one of the tenant's messages, or raise NotFoundError."""
    async with pool.connection(user_id) as conn:
        found = await messages.get(conn, user_id=user_id, message_id=message_id)
    if found is None:
        raise NotFoundError(f"there is no message {message_id}")
    return found


async def list_page(
    pool: Pool, user_id: UUID, wanted: MessageFilter, *, below: UUID | None, limit: int
) -> list[Message]:
    """List the tenant's messages that fit, newest first."""
    async with pool.connection(user_id) as conn:
        return await messages.list_page(
            conn, user_id=user_id, wanted=wanted, below=below, limit=limit
        )


async def stats(pool: Pool, user_id: UUID) -> MessageStats:
    """Count the tenant's messages from the first one on, by how they stand."""
    async with pool.connection(user_id) as conn:
        return summarise(await messages.tally(conn, user_id=user_id))


async def set_pace(pool: Pool, pace: Pace) -> None:
    """Have messages leave no faster than this, for all tenants and processes together."""
    rate = Rate(limit=pace.batch_size, per_s=pace.interval_s, burst=pace.batch_size)
    async with pool.transaction() as conn:
        await audit.sign(conn)
        await queues.govern(conn, name=QUEUE, limits=Limits(concurrency=pace.workers, rate=rate))


async def hold(pool: Pool, hold_s: float) -> None:
    """Have no message leave for so many seconds, in any process, as the receiver asked."""
    async with pool.connection() as conn:
        await queues.hold(conn, name=QUEUE, hold_s=hold_s)


def _present(request: MessageRequest, job: NewJob, created_at: datetime) -> Message:
    """Show a message that was stored just now, without asking the database for it."""
    return Message(
        id=job.id,
        phone_number=request.phone_number,
        content=request.content,
        status=MessageStatus.PENDING,
        job_id=job.id,
        attempts=0,
        webhook_message_id=None,
        sent_at=None,
        last_error=None,
        error_code=None,
        created_at=created_at,
        updated_at=created_at,
    )


def _in_request(error: InvalidError) -> InvalidError:
    """Point into the body that the caller sent, not into the job that we made of it."""
    faults = [
        Fault(pointer=fault.pointer.removeprefix(_PAYLOAD), detail=fault.detail)
        for fault in error.faults
    ]
    if not faults:
        return error
    return InvalidError(f"{faults[0].pointer or 'body'}: {faults[0].detail}", *faults)
