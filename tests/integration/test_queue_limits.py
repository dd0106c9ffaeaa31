"""Limits of queues, with real workers: held across all of them, and never a stall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from rows import add_jobs, connect
from signalstack.core.endpoint_config import Rate
from signalstack.core.handler import Retry
from signalstack.core.queue import QueueChange
from signalstack.core.stage import Settled, Started
from signalstack.usecases import control, queue_control
from working import Crew, Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from signalstack.core.handler import Context

PATIENCE_S = 20


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


class Gauge:
    """Counts how many handlers run at once, over all workers of this process."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.runs = 0
        self.opened = anyio.Event()
        self._entered = anyio.Event()

    async def until(self, runs: int) -> None:
        """Wait until so many runs have begun."""
        with anyio.fail_after(PATIENCE_S):
            while self.runs < runs:
                self._entered = anyio.Event()
                await self._entered.wait()

    async def brief(self, _payload: Any, _context: Context) -> None:
        self._enter()
        try:
            await anyio.lowlevel.checkpoint()
        finally:
            self.now -= 1

    async def gated(self, _payload: Any, _context: Context) -> None:
        self._enter()
        try:
            await self.opened.wait()
        finally:
            self.now -= 1

    async def failing_once(self, _payload: Any, context: Context) -> None:
        self._enter()
        try:
            await anyio.lowlevel.checkpoint()
            if context.attempt == 1:
                raise Retry("again", after_s=0.01)
        finally:
            self.now -= 1

    def _enter(self) -> None:
        self.now += 1
        self.runs += 1
        self.most = max(self.most, self.now)
        self._entered.set()


async def limit(shop: Shop, queue: str, **change: Any) -> None:
    await queue_control.limit(shop.pool, shop.user_id, queue, QueueChange(**change))


async def running(shop: Shop, queue: str) -> int:
    return (await queue_control.get(shop.pool, shop.user_id, queue)).running


async def all_ended(jobs: list[UUID], *crews: Crew) -> None:
    """Wait until these jobs are recorded as ended, each by one of the workers."""
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(_ended_somewhere, job, crews)


async def _ended_somewhere(job: UUID, crews: tuple[Crew, ...]) -> None:
    async with anyio.create_task_group() as tasks:

        async def wait(crew: Crew) -> None:
            await crew.ended(job)
            tasks.cancel_scope.cancel()

        for crew in crews:
            tasks.start_soon(wait, crew)


async def test_no_more_run_at_once_than_allowed_and_all_get_their_turn(shop: Shop) -> None:
    gauge = Gauge()
    await limit(shop, "narrow", concurrency=3)
    async with (
        shop.worker({"brief": (Any, gauge.brief)}) as one,
        shop.worker({"brief": (Any, gauge.brief)}) as two,
    ):
        jobs = await shop.enqueue_many("brief", [None] * 60, queue="narrow")
        await all_ended(jobs, one, two)
    assert gauge.most <= 3
    assert gauge.runs == 60
    assert await running(shop, "narrow") == 0


async def test_a_slot_is_used_again_at_once_by_whoever_has_room(shop: Shop) -> None:
    gauge = Gauge()
    await limit(shop, "narrow", concurrency=6)
    async with (
        shop.worker({"gated": (Any, gauge.gated)}) as one,
        shop.worker({"gated": (Any, gauge.gated)}) as two,
    ):
        jobs = await shop.enqueue_many("gated", [None] * 12, queue="narrow")
        # Four slots each, six allowed: both must have a part in it, though none of them ends.
        await gauge.until(runs=6)
        assert await running(shop, "narrow") == 6
        assert one.facts.facts(Started)
        assert two.facts.facts(Started)
        gauge.opened.set()
        await all_ended(jobs, one, two)
    assert gauge.most == 6


async def test_slots_are_freed_by_retries(shop: Shop) -> None:
    gauge = Gauge()
    await limit(shop, "narrow", concurrency=1)
    async with shop.worker({"failing": (Any, gauge.failing_once)}) as crew:
        jobs = await shop.enqueue_many("failing", [None] * 5, queue="narrow")
        await all_ended(jobs, crew)
    assert (gauge.most, gauge.runs) == (1, 10)
    assert await running(shop, "narrow") == 0


async def test_slots_are_freed_by_cancelling(shop: Shop) -> None:
    gauge = Gauge()
    await limit(shop, "narrow", concurrency=1)
    async with shop.worker({"gated": (Any, gauge.gated)}) as crew:
        jobs = await shop.enqueue_many("gated", [None] * 3, queue="narrow")
        for count, job in enumerate(jobs, start=1):
            await gauge.until(runs=count)
            await control.cancel(shop.pool, shop.user_id, job, observer=crew.facts)
        for job in jobs:
            await crew.facts.seen(Settled, jobs=job)
    assert gauge.most == 1
    assert await running(shop, "narrow") == 0


async def test_slots_are_freed_by_a_worker_that_was_lost(shop: Shop) -> None:
    gauge = Gauge()
    await limit(shop, "narrow", concurrency=1)
    async with shop.worker({"gated": (Any, gauge.gated)}) as lost:
        first, second = await shop.enqueue_many("gated", [None] * 2, queue="narrow")
        await lost.facts.seen(Started, job=first)
        async with shop.worker({"gated": (Any, gauge.gated)}) as crew:
            await shop.bury(await shop.worker_of(first))
            await gauge.until(runs=2)
            assert await running(shop, "narrow") == 1
            gauge.opened.set()
            await all_ended([first, second], crew, lost)
    assert await running(shop, "narrow") == 0


async def test_jobs_that_run_already_count_when_a_limit_is_set(shop: Shop) -> None:
    gauge = Gauge()
    await limit(shop, "wide")
    async with shop.worker({"gated": (Any, gauge.gated)}) as crew:
        early = await shop.enqueue_many("gated", [None] * 3, queue="wide")
        await crew.facts.seen(Started, count=3)
        await limit(shop, "wide", concurrency=2)
        assert await running(shop, "wide") == 3
        late = await shop.enqueue_many("noop", [None] * 2, queue="wide")
        gauge.opened.set()
        await all_ended([*early, *late], crew)
    assert await running(shop, "wide") == 0


async def test_a_claim_that_began_before_the_limit_and_is_committed_after_it_counts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_control, "_STRAGGLE_S", PATIENCE_S)
    async with connect(shop.dsn) as claim:
        await claim.execute("BEGIN")
        await claim.execute("SELECT name FROM signalstack.queues")
        (job,) = await add_jobs(claim, shop.user_id)
        await claim.execute("UPDATE signalstack.jobs SET lease_token = 1, attempt = 1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                queue_control.limit, shop.pool, shop.user_id, "default", QueueChange(concurrency=1)
            )
            await _until_limited(shop)
            await claim.execute("COMMIT")

    assert await shop.rows("SELECT id FROM signalstack.jobs WHERE limited") == [{"id": job}]
    queue = await queue_control.get(shop.pool, shop.user_id, "default")
    assert queue.running == 1


async def test_a_run_that_ends_while_its_queue_gets_a_limit_holds_no_slot(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_control, "_STRAGGLE_S", PATIENCE_S)
    async with connect(shop.dsn) as settlement:
        await add_jobs(settlement, shop.user_id)
        # It counted in a limit that was taken away since, or in the operator's.
        await settlement.execute(
            "UPDATE signalstack.jobs SET lease_token = 1, attempt = 1, limited = true"
        )
        await settlement.execute("BEGIN")
        await settlement.execute("DELETE FROM signalstack.jobs")
        await settlement.execute(
            "SELECT signalstack.free_slots(ARRAY[%s::uuid], '{default}')", (shop.user_id,)
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                queue_control.limit, shop.pool, shop.user_id, "default", QueueChange(concurrency=1)
            )
            await _until_limited(shop)
            await settlement.execute("COMMIT")

    assert await running(shop, "default") == 0


async def _until_limited(shop: Shop) -> None:
    limited = "SELECT name FROM signalstack.queues WHERE concurrency = 1"
    with anyio.fail_after(PATIENCE_S):
        while not await shop.rows(limited):
            await anyio.lowlevel.checkpoint()
    for _ in range(50):  # long enough for whoever would look too early
        await shop.rows(limited)


async def test_a_limit_that_is_taken_away_holds_nobody_up(shop: Shop) -> None:
    gauge = Gauge()
    await limit(shop, "narrow", concurrency=1)
    async with shop.worker({"gated": (Any, gauge.gated)}) as crew:
        jobs = await shop.enqueue_many("gated", [None] * 4, queue="narrow")
        await crew.facts.seen(Started)
        await limit(shop, "narrow", concurrency=None)
        await crew.facts.seen(Started, count=4)
        gauge.opened.set()
        await all_ended(jobs, crew)
    assert gauge.most == 4
    assert await running(shop, "narrow") == 0


async def test_a_rate_is_kept_to_and_made_use_of(shop: Shop) -> None:
    claimed: list[float] = []

    async def note(_payload: Any, context: Context) -> None:
        # Until it ends, its row says when it was claimed, by the clock that the rate goes by.
        (row,) = await shop.rows(
            "SELECT extract(epoch FROM started_at)::double precision AS at"
            " FROM signalstack.jobs WHERE id = %s",
            context.job_id,
        )
        claimed.append(row["at"])

    await limit(shop, "paced", rate=Rate(limit=20, per_s=1.0, burst=5))
    async with (
        shop.worker({"note": (Any, note)}) as one,
        shop.worker({"note": (Any, note)}) as two,
    ):
        jobs = await shop.enqueue_many("note", [None] * 35, queue="paced")
        await all_ended(jobs, one, two)
    claimed.sort()
    assert len(claimed) == 35
    for first, begin in enumerate(claimed):
        for last, end in enumerate(claimed[first:], start=first):
            # The bucket is read a moment before a claim's rows are stamped.
            assert last - first + 1 <= 5 + 20 * (end - begin) + 0.5
    # Thirty had to be waited for; nobody polls here.
    assert 1.4 <= claimed[-1] - claimed[0] < 3


async def test_nothing_starts_while_a_queue_is_paused(shop: Shop) -> None:
    gauge = Gauge()
    await queue_control.pause(shop.pool, shop.user_id, "default", paused=True)
    await limit(shop, "other")
    async with shop.worker({"brief": (Any, gauge.brief)}) as crew:
        jobs = await shop.enqueue_many("brief", [None] * 3)
        # What comes later on another queue overtakes: claims have been made since.
        await all_ended([await shop.enqueue("brief", queue="other")], crew)
        assert gauge.runs == 1
        await queue_control.pause(shop.pool, shop.user_id, "default", paused=False)
        await all_ended(jobs, crew)
    assert gauge.runs == 4
