"""The pace of deliveries to an endpoint: its rate and its receiver's Retry-After, for all workers.

The receiver, the workers and the endpoint's row are real; jobs that wait for their turn are put off
and keep their attempts.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from receiver import receiver, reply
from recording import RecordingObserver
from signalstack.core.endpoint_config import EndpointChange, EndpointRequest, Rate
from signalstack.core.handler import Postpone
from signalstack.core.job import Outcome, Status, Wake
from signalstack.core.stage import Finished, PutOff, Queried, Started
from signalstack.handlers import webhook
from signalstack.handlers.addressee import Endpoints
from signalstack.handlers.outbound import open_outbound
from signalstack.store.pool import Pool
from signalstack.usecases import endpoints, look_up
from working import Crew, Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from uuid import UUID

    from receiver import Exchange
    from signalstack.core.handler import Context


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


@asynccontextmanager
async def sender(shop: Shop, **options: Any) -> AsyncGenerator[Crew]:
    """Run a worker that delivers webhooks, with a pool and an observer of its own."""
    facts = RecordingObserver()
    async with (
        Pool(shop.dsn, facts) as pool,
        open_outbound(timeout_s=5, allow_private=True) as outbound,
    ):
        deliver = webhook.build(
            outbound=outbound,
            observer=facts,
            endpoints=Endpoints(
                find=partial(endpoints.get_for_delivery, pool),
                take=partial(endpoints.take, pool),
                hold=partial(endpoints.hold, pool),
                disable=partial(endpoints.disable, pool),
                failed=partial(endpoints.record_failure, pool),
                recovered=partial(endpoints.clear_failures, pool),
            ),
        )
        async with shop.worker({}, on_board=[deliver], facts=facts, **options) as crew:
            yield crew


async def make_endpoint(shop: Shop, url: str, *, name: str = "here", **given: Any) -> UUID:
    request = EndpointRequest(name=name, url=url, **given)
    return (await endpoints.create(shop.pool, shop.user_id, request, allow_private=True)).id


async def post(shop: Shop, endpoint_id: UUID, count: int, **given: Any) -> list[UUID]:
    payloads: list[object] = [{"endpoint_id": endpoint_id, "body": n} for n in range(count)]
    return await shop.enqueue_many("send_webhook", payloads, **given)


class Clock:
    """Answers 204 and keeps when each request came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.times.append(anyio.current_time())
        await reply(204)(exchange)


# When each token was taken, by the database: what arrives says besides how slow the machine is.
_NOTE_TAKES = (
    "CREATE TABLE public.takes (at double precision)",
    (
        "CREATE FUNCTION public.note_take() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$"
        " BEGIN INSERT INTO public.takes VALUES (extract(EPOCH FROM clock_timestamp()));"
        " RETURN NULL; END $$"
    ),
    (
        "CREATE TRIGGER note_take AFTER UPDATE OF bucket_full_at ON signalstack.endpoints"
        " FOR EACH ROW WHEN (NEW.bucket_full_at IS DISTINCT FROM OLD.bucket_full_at)"
        " EXECUTE FUNCTION public.note_take()"
    ),
)


def excess(times: Sequence[float], *, per_s: float, burst: int) -> float:
    """Tell by how many takes the fullest of all windows is above the bucket."""
    return max(
        (last - first + 1) - burst - (end - begin) * per_s
        for first, begin in enumerate(times)
        for last, end in enumerate(times[first:], first)
    )


async def test_two_workers_together_keep_an_endpoints_rate(shop: Shop) -> None:
    for statement in _NOTE_TAKES:
        await shop.rows(statement)
    async with receiver(*[reply(204)] * 50) as r:
        endpoint_id = await make_endpoint(shop, r.url, rate=Rate(limit=20, per_s=1, burst=5))
        async with sender(shop, concurrency=8) as one, sender(shop, concurrency=8) as two:
            began = anyio.current_time()
            jobs = await post(shop, endpoint_id, 50)
            await r.wait_for(50, timeout_s=15)
            took_s = anyio.current_time() - began
            facts = [*one.facts.told, *two.facts.told]
        ran = [await shop.ran(job) for job in jobs]
        past = [await shop.past(job) for job in jobs]

    takes = [take["at"] for take in await shop.rows("SELECT at FROM public.takes ORDER BY at")]
    assert len(takes) == 50
    # A token is noted a moment after it was taken, which makes a window seem that much shorter.
    assert excess(takes, per_s=20, burst=5) <= 0.5
    assert took_s >= 45 / 20 - 0.1
    assert {(run.status, run.attempt, run.max_attempts) for run in ran} == {("succeeded", 1, 3)}
    assert past == [[]] * 50
    put_off = {fact.job for fact in facts if isinstance(fact, PutOff)}
    assert len(put_off) >= 40
    later = [fact for fact in facts if isinstance(fact, Started) and fact.job in put_off]
    assert Wake.TIMER in {fact.wake for fact in later}
    # Places are handed out: a delivery comes back about once, and not with all the others.
    assert sum(isinstance(fact, PutOff) for fact in facts) < 100
    paced = r.requests
    assert len({sent.headers["webhook-id"] for sent in paced}) == 50
    assert {sent.headers["webhook-attempt"] for sent in paced} == {"1"}


async def test_receiver_that_wants_to_be_left_alone_is(shop: Shop) -> None:
    busy = reply(429, headers={"retry-after": "1"})
    clock = Clock()
    async with receiver(busy, *[clock] * 10) as r:
        endpoint_id = await make_endpoint(shop, r.url)
        async with sender(shop, concurrency=4) as crew:
            (refused,) = await post(shop, endpoint_id, 1)
            await crew.facts.seen(Finished, job=refused, outcome=Outcome.RETRIED)
            told_at = anyio.current_time()
            others = await post(shop, endpoint_id, 9)
            (held,) = await shop.rows("SELECT held_until FROM signalstack.endpoints")
            for job in (refused, *others):
                await crew.ended(job)
            put_off = {fact.job for fact in crew.facts.facts(PutOff)}
        tried = [await shop.ran(job) for job in others]

    assert held["held_until"] is not None
    assert min(clock.times) >= told_at + 0.8
    assert put_off >= set(others)
    assert {(run.status, run.attempt) for run in tried} == {("succeeded", 1)}
    assert (await shop.ran(refused)).attempt == 2


async def test_delivery_without_a_rate_costs_the_same_statements_as_ever(shop: Shop) -> None:
    async with receiver() as r:
        endpoint_id = await make_endpoint(shop, r.url)
        async with sender(shop) as crew:
            (job,) = await post(shop, endpoint_id, 1)
            await crew.ended(job)
            asked = [
                fact.query
                for fact in crew.facts.facts(Queried)
                if fact.query.startswith("endpoints/")
            ]

    assert asked == ["endpoints/get_for_delivery"]


async def test_changed_rate_is_in_force_at_once(shop: Shop) -> None:
    endpoint_id = await make_endpoint(shop, "http://127.0.0.1/", rate=Rate(limit=1, per_s=3_600))
    who = (shop.pool, shop.user_id, endpoint_id)

    assert await endpoints.take(*who, again=False) == 0
    assert await endpoints.take(*who, again=False) == pytest.approx(3_600, abs=60)
    change = EndpointChange(rate=Rate(limit=2, per_s=3_600))
    await endpoints.change(*who, change, allow_private=True)

    assert [await endpoints.take(*who, again=False) for _ in range(2)] == [0, 0]
    assert await endpoints.take(*who, again=False) == pytest.approx(1_800, abs=60)


async def test_places_are_handed_out_in_line_and_nobody_jumps_it(shop: Shop) -> None:
    endpoint_id = await make_endpoint(shop, "http://127.0.0.1/", rate=Rate(limit=1, per_s=100))
    who = (shop.pool, shop.user_id, endpoint_id)
    assert await endpoints.take(*who, again=False) == 0
    waits = [await endpoints.take(*who, again=False) for _ in range(3)]
    assert waits == [pytest.approx(at, abs=20) for at in (100, 200, 300)]

    # As if the first place's time had come: a newcomer must not take its token.
    await shop.rows(
        "UPDATE signalstack.endpoints SET bucket_full_at = bucket_full_at - interval '101 s',"
        " next_slot_at = next_slot_at - interval '101 s'"
    )
    newcomer = await endpoints.take(*who, again=False)
    in_line = await endpoints.take(*who, again=True)
    assert newcomer > 200
    assert in_line == 0
    assert await endpoints.take(*who, again=True) > 0


async def test_line_longer_than_an_hour_is_not_drawn_up(shop: Shop) -> None:
    endpoint_id = await make_endpoint(shop, "http://127.0.0.1/", rate=Rate(limit=1, per_s=3_000))
    who = (shop.pool, shop.user_id, endpoint_id)

    waits = [await endpoints.take(*who, again=False) for _ in range(6)]

    assert waits[0] == 0
    assert waits[1] == pytest.approx(3_000, abs=60)
    assert all(endpoints.HORIZON_S / 2 <= wait_s <= endpoints.HORIZON_S for wait_s in waits[2:])


async def test_takers_at_the_same_moment_get_one_token_each(shop: Shop) -> None:
    endpoint_id = await make_endpoint(shop, "http://127.0.0.1/", rate=Rate(limit=3, per_s=600))
    waits: list[float] = []

    async def take() -> None:
        waits.append(await endpoints.take(shop.pool, shop.user_id, endpoint_id, again=False))

    async with anyio.create_task_group() as takers:
        for _ in range(8):
            takers.start_soon(take)

    assert sorted(waits) == [0, 0, 0, *(pytest.approx(at, abs=30) for at in range(200, 1_200, 200))]


async def test_hold_ends_early_for_another_url_and_never_moves_back(shop: Shop) -> None:
    endpoint_id = await make_endpoint(shop, "http://127.0.0.1/")
    who = (shop.pool, shop.user_id, endpoint_id)

    await endpoints.hold(*who, "http://127.0.0.1/", 600)
    await endpoints.hold(*who, "http://127.0.0.1/", 5)
    assert await endpoints.take(*who, again=False) == pytest.approx(600, abs=30)

    await endpoints.change(*who, EndpointChange(name="renamed"), allow_private=True)
    assert (await endpoints.get(*who)).held_until is not None
    other = EndpointChange(url="http://127.0.0.2/")
    await endpoints.change(*who, other, allow_private=True)
    assert (await endpoints.get(*who)).held_until is None


async def test_own_handler_puts_its_job_off_without_using_an_attempt_up(shop: Shop) -> None:
    seen: list[tuple[int, bool]] = []

    async def pick(_payload: Any, context: Context) -> str:
        await anyio.lowlevel.checkpoint()
        seen.append((context.attempt, context.postponed_since is not None))
        if len(seen) < 3:
            raise Postpone("the shop is closed", after_s=0.05)
        return "done"

    async with shop.worker({"pick": (Any, pick)}) as crew:
        job = await shop.enqueue("pick", max_attempts=1)
        await crew.ended(job)
        wakes = [fact.wake for fact in crew.facts.facts(Started, job=job)]
    ran = await shop.ran(job)

    assert seen == [(1, False), (1, True), (1, True)]
    assert wakes[1:] == [Wake.TIMER, Wake.TIMER]
    assert (ran.status, ran.attempt, ran.max_attempts, ran.last_error) == ("succeeded", 1, 1, None)
    assert await shop.past(job) == []


async def test_job_that_was_put_off_is_scheduled_says_why_and_holds_no_slot(shop: Shop) -> None:
    async def wait(_payload: Any, _context: Context) -> None:
        await anyio.lowlevel.checkpoint()
        raise Postpone("the shop is closed", after_s=600)

    async with shop.worker({"wait": (Any, wait)}, concurrency=1) as crew:
        first, second = await shop.enqueue_many("wait", [None, None])
        for job in (first, second):
            await crew.facts.seen(Finished, job=job, outcome=Outcome.POSTPONED)
        await crew.stop()
    jobs = [await look_up.get_job(shop.pool, shop.user_id, job) for job in (first, second)]

    assert [(job.status, job.attempt, job.last_error) for job in jobs] == [
        (Status.SCHEDULED, 0, "the shop is closed")
    ] * 2
    assert all(job.run_at > job.updated_at + timedelta(minutes=9) for job in jobs)
    assert all(job.started_at is None for job in jobs)


async def test_job_that_is_cancelled_while_it_is_put_off_ends(shop: Shop) -> None:
    gate = anyio.Event()

    async def wait(_payload: Any, _context: Context) -> None:
        with anyio.CancelScope(shield=True):
            await gate.wait()
        raise Postpone(after_s=600)

    async with shop.worker({"wait": (Any, wait)}) as crew:
        job = await shop.enqueue("wait")
        await crew.facts.seen(Started, job=job)
        await shop.rows("UPDATE signalstack.jobs SET cancel_requested = true WHERE id = %s", job)
        gate.set()
        await crew.facts.seen(Finished, job=job, outcome=Outcome.POSTPONED)
        await crew.stop()

    assert (await shop.ran(job)).status == "cancelled"
