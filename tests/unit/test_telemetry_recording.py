"""The recording observer: it waits on facts, and says what it saw when they do not come."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import anyio
import pytest
from anyio import to_thread

from recording import RecordingObserver
from signalstack.core.job import Wake
from signalstack.core.stage import Rescued, Settled, Woken

if TYPE_CHECKING:
    from signalstack.core.stage import Observer


async def test_a_fact_told_before_is_seen_at_once() -> None:
    observer = RecordingObserver()
    observer.tell(Woken(cause=Wake.POLL))
    observer.tell(Woken(cause=Wake.NOTIFY))

    fact = await observer.seen(Woken, cause=Wake.NOTIFY)

    assert fact.cause is Wake.NOTIFY


async def test_a_fact_told_later_from_a_thread_wakes_the_waiter() -> None:
    observer = RecordingObserver()
    found: list[Rescued] = []

    async def wait() -> None:
        found.append(await observer.seen(Rescued, count=2))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await to_thread.run_sync(observer.tell, Rescued(count=1))
        await to_thread.run_sync(observer.tell, Rescued(count=7))

    assert found == [Rescued(count=7)]


async def test_a_tuple_may_just_contain_the_value() -> None:
    observer = RecordingObserver()
    job = uuid4()
    observer.tell(Settled(jobs=(uuid4(), job), stale=0, duration_s=0.001))

    assert (await observer.seen(Settled, jobs=job)).stale == 0


async def test_a_fact_that_does_not_come_fails_with_what_was_seen_instead() -> None:
    observer = RecordingObserver()
    observer.tell(Woken(cause=Wake.POLL))

    with pytest.raises(AssertionError, match=r"cause=.*notify.*\n.*'Woken': 1.*\n.*\n.*POLL"):
        await observer.seen(Woken, cause=Wake.NOTIFY, timeout_s=0.01)


def test_spans_are_kept_with_what_was_set_on_them() -> None:
    observer: Observer = RecordingObserver()

    with observer.span("process mail", "consumer", link="x", attributes={"a": 1}) as span:
        span.set({"b": 2})
        span.fail("no")

    assert isinstance(observer, RecordingObserver)
    [kept] = observer.spans
    assert (kept.name, kept.kind, kept.link, kept.attributes, kept.failure, kept.open) == (
        *("process mail", "consumer", "x"),
        *({"a": 1, "b": 2}, "no", False),
    )
