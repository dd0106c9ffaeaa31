"""Limits of an operator's queue, which all tenants and all workers hold together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from signalstack.core.message import Pace
from signalstack.core.queue import QueueChange
from signalstack.core.stage import Settled
from signalstack.usecases import messages, queue_control
from tenants import make_tenant
from working import Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from signalstack.core.handler import Context

PATIENCE_S = 20
QUEUE = "messages"


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


class Door:
    """Handlers that wait until it is opened, and in which order they came."""

    def __init__(self) -> None:
        self.came: list[object] = []
        self.times: list[float] = []
        self.now = 0
        self.most = 0
        self.opened = anyio.Event()
        self._knock = anyio.Event()

    async def run(self, payload: Any, _context: Context) -> None:
        self.came.append(payload)
        self.times.append(anyio.current_time())
        self.now += 1
        self.most = max(self.most, self.now)
        self._knock.set()
        try:
            await self.opened.wait()
        finally:
            self.now -= 1

    async def until(self, count: int) -> None:
        with anyio.fail_after(PATIENCE_S):
            while len(self.came) < count:
                self._knock = anyio.Event()
                await self._knock.wait()


async def set_pace(shop: Shop, *, batch: int, interval_s: float, workers: int) -> None:
    pace = Pace(batch_size=batch, interval_s=interval_s, workers=workers)
    await messages.set_pace(shop.pool, pace)


async def running(shop: Shop) -> list[int]:
    found = await shop.rows(
        "SELECT running FROM signalstack.queues WHERE name = %s ORDER BY user_id", QUEUE
    )
    return [row["running"] for row in found]


async def another(shop: Shop) -> Shop:
    """Give the same shop to another tenant."""
    return shop.of(await make_tenant(shop.pool, "other"))


async def test_slots_are_shared_by_all_tenants_and_workers(shop: Shop) -> None:
    door, other = Door(), await another(shop)
    await set_pace(shop, batch=1000, interval_s=0.1, workers=3)

    async with shop.worker({"go": door.run}) as one, shop.worker({"go": door.run}) as two:
        jobs = await shop.enqueue_many("go", list(range(4)), queue=QUEUE)
        jobs += await other.enqueue_many("go", list(range(4)), queue=QUEUE)
        await door.until(3)
        assert await running(shop) == [3]
        door.opened.set()
        await door.until(8)
        await settled(one.facts, two.facts, jobs)

    assert door.most == 3
    assert await running(shop) == [0]


async def test_tenants_take_turns_each_in_its_own_order(shop: Shop) -> None:
    door, other = Door(), await another(shop)
    door.opened.set()
    await set_pace(shop, batch=2, interval_s=0.05, workers=100)
    await shop.enqueue_many("go", [f"a{n}" for n in range(6)], queue=QUEUE)
    await other.enqueue_many("go", ["b0", "b1"], queue=QUEUE)

    async with shop.worker({"go": door.run}):
        await door.until(8)

    of_first = [name for name in door.came if str(name).startswith("a")]
    assert of_first == sorted(of_first, key=str)
    assert set(map(str, door.came[:2])) == {"a0", "b0"}


async def test_the_rate_is_held_across_workers_with_one_burst_at_first(shop: Shop) -> None:
    door = Door()
    door.opened.set()
    await set_pace(shop, batch=4, interval_s=0.4, workers=100)

    async with shop.worker({"go": door.run}), shop.worker({"go": door.run}):
        await shop.enqueue_many("go", list(range(12)), queue=QUEUE)
        await door.until(12)

    # 4 at once and 8 more at 10 a second: no sooner, whoever claims them.
    assert door.times[-1] - door.times[0] >= 0.75
    assert door.came == list(range(12))


async def test_a_tenant_s_own_limit_holds_within_the_shared_one(shop: Shop) -> None:
    door, other = Door(), await another(shop)
    await set_pace(shop, batch=1000, interval_s=0.1, workers=3)
    await queue_control.limit(shop.pool, shop.user_id, QUEUE, QueueChange(concurrency=1))

    async with shop.worker({"go": door.run}, concurrency=10) as crew:
        jobs = await shop.enqueue_many("go", ["a"] * 3, queue=QUEUE)
        jobs += await other.enqueue_many("go", ["b"] * 3, queue=QUEUE)
        await door.until(3)
        assert sorted(map(str, door.came)) == ["a", "b", "b"]
        assert await running(shop) == [3, 1]
        seen = await queue_control.get(shop.pool, other.user_id, QUEUE)
        door.opened.set()
        await settled(crew.facts, crew.facts, jobs)

    assert seen.running == 2
    assert await running(shop) == [0, 0]


async def test_a_pause_by_the_operator_stops_every_tenant(shop: Shop) -> None:
    door = Door()
    door.opened.set()
    await set_pace(shop, batch=1000, interval_s=0.1, workers=10)
    await shop.rows("UPDATE signalstack.queues SET paused = true WHERE name = %s", QUEUE)

    async with shop.worker({"go": door.run}) as crew:
        (held,) = await shop.enqueue_many("go", ["held"], queue=QUEUE)
        await crew.ended(await shop.enqueue("noop"))
        assert door.came == []
        await shop.rows("UPDATE signalstack.queues SET paused = false WHERE name = %s", QUEUE)
        await shop.rows("SELECT pg_notify('signalstack_ready', %s)", QUEUE)
        await crew.ended(held)


async def test_slots_of_a_dead_worker_are_free_again(shop: Shop) -> None:
    door = Door()
    await set_pace(shop, batch=1000, interval_s=0.1, workers=2)

    async with shop.worker({"go": door.run}, shutdown_timeout_s=0.1):
        jobs = await shop.enqueue_many("go", [1, 2], queue=QUEUE)
        await door.until(2)
        before = await running(shop)
        await shop.bury(await shop.worker_of(jobs[0]))
        after = await running(shop)

    assert (before, after) == ([2], [0])


async def settled(one: Any, two: Any, jobs: list[UUID]) -> None:
    """Wait until all of these jobs' ends are recorded by either worker."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            done = {
                job
                for facts in {one, two}
                for fact in facts.told
                if isinstance(fact, Settled)
                for job in fact.jobs
            }
            if done >= set(jobs):
                return
            await anyio.lowlevel.checkpoint()
