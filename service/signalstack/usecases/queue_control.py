"""Looking at queues, limiting, pausing and resuming them: in force for all workers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.errors import ConflictError, InvalidError, NotFoundError
from signalstack.core.queue import MAX_QUEUES, Limits, check_new_name, may_exist
from signalstack.store import queues

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.core.queue import Queue, QueueChange
    from signalstack.store.pool import Pool
    from signalstack.store.query import Connection

_STRAGGLE_S: Final = 1.0
_LOOK_S: Final = 0.005


async def list_all(pool: Pool, user_id: UUID) -> list[Queue]:
    """Tell how all queues stand that the tenant may use, by name."""
    async with pool.connection(user_id) as conn:
        return await queues.look(conn, user_id=user_id)


async def get(pool: Pool, user_id: UUID, name: str) -> Queue:
    """Tell how one queue stands, or raise NotFoundError."""
    if may_exist(name):
        async with pool.connection(user_id) as conn:
            for queue in await queues.look(conn, user_id=user_id, name=name):
                return queue
    raise _unknown(name)


async def limit(pool: Pool, user_id: UUID, name: str, change: QueueChange) -> Queue:
    """Set a queue's limits; a queue that does not exist yet is made the tenant's.

    Raises:
        InvalidError: a new queue cannot be named so.
        ConflictError: the tenant has as many queues as it may.
    """
    async with pool.transaction(user_id) as conn:
        before = await _hold(conn, user_id, name, may_make=True)
        limits = change.of(before)
        begins = limits.any and not before.any
        running = None if limits.any else 0
        if begins:
            marked = await queues.mark_running(conn, user_id=user_id, name=name)
            running = marked.counted + marked.marked
        await queues.limit(conn, user_id=user_id, name=name, limits=limits, running=running)
    if begins:
        await _count_stragglers(pool, user_id, name)
    return await get(pool, user_id, name)


async def pause(pool: Pool, user_id: UUID, name: str, *, paused: bool) -> Queue:
    """Have no job of a queue start any more, or again; NotFoundError when there is no such queue.

    Raises:
        ConflictError: the tenant has as many queues of its own as it may.
    """
    async with pool.transaction(user_id) as conn:
        await _hold(conn, user_id, name, may_make=False)
        await queues.pause(conn, user_id=user_id, name=name, paused=paused)
    return await get(pool, user_id, name)


async def _hold(conn: Connection, user_id: UUID, name: str, *, may_make: bool) -> Limits:
    """Lock the tenant's row of a queue, which is made when it uses the operator's so far."""
    held = await queues.lock(conn, user_id=user_id, name=name) if may_exist(name) else None
    if held is not None:
        return held
    if name not in await queues.known(conn, user_id=user_id):
        if not may_make:
            raise _unknown(name)
        try:
            check_new_name(name)
        except ValueError as error:
            raise InvalidError(str(error)) from None
    made = await queues.count_made(conn, user_id=user_id)
    # Somebody else may have made it while we waited for our turn.
    held = await queues.lock(conn, user_id=user_id, name=name)
    if held is not None:
        return held
    if made >= MAX_QUEUES:
        raise ConflictError(f"a tenant may have {MAX_QUEUES} queues of its own")
    await queues.make(conn, user_id=user_id, name=name)
    return await queues.lock(conn, user_id=user_id, name=name) or Limits()


async def _count_stragglers(pool: Pool, user_id: UUID, name: str) -> None:
    """Count anew when whoever had begun before the limits were committed has ended.

    A claim of theirs leased runs that do not count yet, and a settlement of theirs was about to end
    runs that were counted, and took none off a queue that had no limits.
    """
    async with pool.connection() as conn:
        older = await queues.readers(conn)
        # Claims take milliseconds. A dump reads for hours, and makes nothing run.
        with anyio.move_on_after(_STRAGGLE_S):
            while older & await queues.readers(conn):  # noqa: ASYNC110 - they are elsewhere
                await anyio.sleep(_LOOK_S)
    async with pool.transaction(user_id) as conn:
        held = await queues.lock(conn, user_id=user_id, name=name)
        if held is None or not held.any:
            return
        # Who ends runs now waits for the queue, and takes them off afterwards.
        found = await queues.mark_running(conn, user_id=user_id, name=name)
        await queues.recount(conn, user_id=user_id, name=name, running=found.counted + found.marked)


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no queue {name[:100]!r}")
