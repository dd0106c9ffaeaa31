"""Subscribing to events: checking what a tenant wants made of them, and keeping it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from signalstack.core.budget import Budget
from signalstack.core.errors import ConflictError, InvalidError, NotFoundError
from signalstack.core.fit import fit
from signalstack.core.ids import new_id
from signalstack.core.message import queue_fault
from signalstack.core.pattern import check_event_type, compile_filter
from signalstack.core.subscription import MAX_BYTES, MAX_SUBSCRIPTIONS
from signalstack.core.template import compile_template, render
from signalstack.store import queues, subscriptions, users
from signalstack.usecases.aside import aside

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from signalstack.core.handler import Registry
    from signalstack.core.subscription import (
        JobTemplate,
        MatchingSubscription,
        Subscription,
        SubscriptionChange,
        SubscriptionRequest,
    )
    from signalstack.store.pool import Pool
    from signalstack.store.query import Connection


async def create(
    pool: Pool, user_id: UUID, request: SubscriptionRequest, *, registry: Registry
) -> Subscription:
    """Check and store a subscription; the tenant's events match it from then on.

    Raises:
        InvalidError: event type, filter, template, payload, job type or queue is wrong.
        ConflictError: the name is in use, or the tenant has as many as it may.
    """
    await aside(user_id, partial(_check, request, registry))
    async with pool.transaction(user_id) as conn:
        await _check_queue(conn, user_id, request.job.queue)
        await _open_change(conn, user_id)
        before = await subscriptions.weigh(conn, user_id=user_id)
        if before.count >= MAX_SUBSCRIPTIONS:
            raise ConflictError(f"a tenant may have {MAX_SUBSCRIPTIONS:,} subscriptions")
        stored = await subscriptions.insert(
            conn, user_id=user_id, subscription_id=new_id(), request=request
        )
        if stored is None:
            raise ConflictError(f"there is a subscription named {request.name!r} already")
        await _check_size(conn, user_id, before.size)
    return stored


async def list_page(
    pool: Pool, user_id: UUID, *, limit: int, after: UUID | None = None
) -> list[Subscription]:
    """List the tenant's subscriptions with ids above `after`, oldest first."""
    async with pool.connection(user_id) as conn:
        return await subscriptions.list_page(conn, user_id=user_id, after=after, limit=limit)


async def get(pool: Pool, user_id: UUID, subscription_id: UUID) -> Subscription:
    """Find one of the tenant's subscriptions, or raise NotFoundError."""
    async with pool.connection(user_id) as conn:
        found = await subscriptions.get(conn, user_id=user_id, subscription_id=subscription_id)
    if found is None:
        raise _unknown(subscription_id)
    return found


async def change(
    pool: Pool,
    user_id: UUID,
    subscription_id: UUID,
    change: SubscriptionChange,
    *,
    registry: Registry,
) -> Subscription:
    """Change what is named of a subscription; the tenant's events match it so from then on.

    Raises:
        InvalidError: event type, filter, template, payload, job type or queue is wrong.
        NotFoundError: there is no such subscription.
        ConflictError: the name is in use, or what the tenant has would grow beyond what it may.
    """
    await aside(user_id, partial(_check, change, registry))
    async with pool.transaction(user_id) as conn:
        if change.job:
            await _check_queue(conn, user_id, change.job.queue)
        await _open_change(conn, user_id)
        before = await subscriptions.weigh(conn, user_id=user_id)
        stored = await subscriptions.update(
            conn, user_id=user_id, subscription_id=subscription_id, change=change
        )
        if stored is None:
            raise _unknown(subscription_id)
        await _check_size(conn, user_id, before.size)
    return stored


async def delete(pool: Pool, user_id: UUID, subscription_id: UUID) -> None:
    """Delete one of the tenant's subscriptions, or raise NotFoundError."""
    async with pool.transaction(user_id) as conn:
        await _open_change(conn, user_id)
        if not await subscriptions.delete(conn, user_id=user_id, subscription_id=subscription_id):
            raise _unknown(subscription_id)


async def load_for_matching(pool: Pool, user_id: UUID) -> tuple[int, list[MatchingSubscription]]:
    """Read the tenant's active subscriptions and their version in one snapshot.

    Raises:
        NotFoundError: there is no such tenant.
    """
    async with pool.connection(user_id) as conn:
        found = await subscriptions.load_for_matching(conn, user_id=user_id)
    if found is None:
        raise NotFoundError("the tenant of this key is gone")
    return found


def _check(asked: SubscriptionRequest | SubscriptionChange, registry: Registry) -> None:
    if isinstance(asked.event_type, str):
        check_event_type(asked.event_type)
    if isinstance(asked.filter, dict):
        compile_filter(asked.filter)
    if asked.job:
        _check_job(asked.job, registry)


async def _check_size(conn: Connection, user_id: UUID, before: int) -> None:
    """Refuse what grew too large; what an older build let in may stay, and shrink."""
    after = await subscriptions.weigh(conn, user_id=user_id)
    if after.size > max(before, MAX_BYTES):
        raise ConflictError(
            f"filters and jobs of a tenant's subscriptions may have {MAX_BYTES:,} bytes together;"
            f" with this one they would have {after.size:,}"
        )


def _check_job(job: JobTemplate, registry: Registry) -> None:
    job_type = registry.get(job.type)
    if job_type is None:
        raise InvalidError.at("/job/type", _unknown_name(job.type, registry))
    if fault := queue_fault(job.type, job.queue):
        raise InvalidError.at("/job/queue", fault)
    template = compile_template(job.payload)
    # What reads the event is not known before there is one.
    if template.make and not template.reads:
        fit(render(template, None, Budget()), job_type.payload, template.pointer)


async def _check_queue(conn: Connection, user_id: UUID, queue: str) -> None:
    known = await queues.known(conn, user_id=user_id)
    if queue not in known:
        raise InvalidError.at("/job/queue", _unknown_name(queue, known))


def _unknown_name(given: str, known: Collection[str]) -> str:
    return f"{given!r} does not exist; there are: {', '.join(sorted(known))}"


async def _open_change(conn: Connection, user_id: UUID) -> None:
    if await users.bump_subscriptions_version(conn, user_id=user_id) is None:
        raise NotFoundError("the tenant of this key is gone")


def _unknown(subscription_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no subscription {subscription_id}")
