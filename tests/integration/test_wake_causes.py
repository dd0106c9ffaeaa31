"""Why a run started when it did: each cause from the front door to the attempt and the figures."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import pytest

from front import Front, open_front
from signalstack.core.handler import JobType, Retry
from signalstack.core.ids import new_id
from signalstack.core.job import Wake
from signalstack.core.message import JOB_TYPE, MessageRequest, Pace
from signalstack.core.queue import Limits
from signalstack.core.stage import Claimed, Finished, HandedOver, Started
from signalstack.handlers.noop import NOOP
from signalstack.store import queues
from signalstack.usecases import messages
from working import Crew, Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from signalstack.core.handler import Context


async def _on_second(_payload: Any, context: Context) -> None:
    await anyio.lowlevel.checkpoint()
    if context.attempt == 1:
        raise Retry("not yet")


async def _hold_first(_payload: Any, context: Context) -> None:
    if context.attempt == 1:
        await anyio.sleep_forever()


async def _send(_payload: MessageRequest, _context: Context) -> None:
    await anyio.lowlevel.checkpoint()


async def _for_a_while(_payload: Any, _context: Context) -> None:
    await anyio.sleep(0.5)


HANDLERS = {
    "for_a_while": (Any, _for_a_while),
    "on_second": (Any, _on_second),
    "hold_first": (Any, _hold_first),
}
TYPES = (
    NOOP,
    JobType(name="on_second", payload=Any, run=_on_second, is_async=True),
    JobType(name="hold_first", payload=Any, run=_hold_first, is_async=True),
    JobType(name="for_a_while", payload=Any, run=_for_a_while, is_async=True),
)


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[tuple[Front, Shop]]:
    async with open_front(database_url, job_types=TYPES) as front, open_shop(database_url) as shop:
        yield front, shop


async def _post(front: Front, **job: object) -> UUID:
    answer = await front.client.post("/v1/jobs", json=job)
    assert answer.status_code == 201, answer.text
    return UUID(answer.json()["id"])


async def _wakes(front: Front, crew: Crew, job: UUID) -> list[str]:
    await crew.ended(job)
    runs = (await front.client.get(f"/v1/jobs/{job}/attempts")).json()["data"]
    claimed = sum((Counter(fact.wakes) for fact in crew.facts.facts(Claimed)), Counter[Wake]())
    claimed[Wake.NOTIFY] += len(crew.facts.facts(HandedOver, outcome="taken"))
    told = [fact.wake for fact in crew.facts.facts(Started, job=job)]
    assert [run["wake"] for run in runs[-len(told) :]] == told
    assert all(claimed[wake] >= 1 for wake in told)
    return [run["wake"] for run in runs]


@pytest.mark.parametrize(
    ("listen", "job", "wakes"),
    [
        (True, {"type": "noop"}, ["notify"]),
        (False, {"type": "noop"}, ["poll"]),
        (True, {"type": "noop", "delay_s": 0.2}, ["timer"]),
        (True, {"type": "on_second"}, ["notify", "retry"]),
    ],
)
async def test_a_run_tells_what_woke_its_worker(
    service: tuple[Front, Shop], *, listen: bool, job: dict[str, object], wakes: list[str]
) -> None:
    front, shop = service
    async with shop.worker(HANDLERS, listen=listen) as crew:
        await _settle_in(front, crew)

        assert await _wakes(front, crew, await _post(front, **job)) == wakes


async def test_what_one_claim_left_behind_is_claimed_as_backlog(
    service: tuple[Front, Shop],
) -> None:
    front, shop = service
    batch = {"jobs": [{"type": "noop"}] * 200}
    jobs = (await front.client.post("/v1/jobs/batch", json=batch)).json()["jobs"]
    async with shop.worker(HANDLERS, concurrency=1) as crew:
        first, last = [await _wakes(front, crew, UUID(jobs[at]["id"])) for at in (0, -1)]

    assert first == ["poll"]  # it was there before the worker
    assert last == ["backlog"]


async def test_what_comes_while_all_slots_are_busy_waits_for_one_whoever_rings_behind_it(
    service: tuple[Front, Shop],
) -> None:
    front, shop = service
    async with shop.worker(HANDLERS, concurrency=1) as crew:
        await _settle_in(front, crew)
        first = await _post(front, type="for_a_while")
        await crew.facts.seen(Started, job=first)
        rung = [await _post(front, type="for_a_while") for _ in range(2)]
        delayed = await _post(front, type="noop", delay_s=0.1)
        await crew.ended(first)
        await crew.facts.seen(Started, job=rung[0])
        last = await _post(front, type="noop")

        assert [await _wakes(front, crew, job) for job in (first, *rung, last)] == [
            ["notify"],
            ["backlog"],
            ["backlog"],
            ["backlog"],
        ]
        await crew.ended(delayed)

    # Its attempt says what it was, the figures what it waited for.
    runs = (await front.client.get(f"/v1/jobs/{delayed}/attempts")).json()["data"]
    assert [run["wake"] for run in runs] == ["timer"]
    assert [fact.wake for fact in crew.facts.facts(Started, job=delayed)] == [Wake.BACKLOG]


@pytest.mark.parametrize(
    "limits",
    [{"concurrency": 1}, {"rate": {"limit": 5, "burst": 1}}],
)
async def test_what_a_limit_of_its_queue_held_back_waited_for_that(
    service: tuple[Front, Shop], limits: dict[str, object]
) -> None:
    front, shop = service
    await front.client.patch("/v1/queues/narrow", json=limits)
    async with shop.worker(HANDLERS) as crew:
        await _settle_in(front, crew)
        first, second = [await _post(front, type="for_a_while", queue="narrow") for _ in range(2)]
        delayed = await _post(front, type="noop", queue="narrow", delay_s=0.05)
        for job in (second, delayed):
            await crew.ended(job)
        last = await _post(front, type="noop", queue="narrow", delay_s=0.5)
        await crew.ended(last)

        assert _told(crew, first, second, delayed, last) == [
            Wake.NOTIFY,
            Wake.BACKLOG,
            Wake.BACKLOG,
            Wake.TIMER,
        ]


async def test_what_the_operators_limit_held_back_waited_for_that(
    service: tuple[Front, Shop],
) -> None:
    front, shop = service
    async with shop.pool.connection() as conn:
        await queues.govern(conn, name="default", limits=Limits(concurrency=1))
    async with shop.worker(HANDLERS) as crew:
        await _settle_in(front, crew)
        first, second = [await _post(front, type="for_a_while") for _ in range(2)]
        await crew.ended(second)

        assert _told(crew, first, second) == [Wake.NOTIFY, Wake.BACKLOG]


async def test_what_the_limits_of_before_held_back_waited_for_those(
    service: tuple[Front, Shop],
) -> None:
    front, shop = service
    await front.client.patch("/v1/queues/narrow", json={"concurrency": 1})
    async with shop.worker(HANDLERS) as crew:
        await _settle_in(front, crew)
        first, second = [await _post(front, type="for_a_while", queue="narrow") for _ in range(2)]
        await crew.facts.seen(Started, job=first)
        await front.client.patch("/v1/queues/narrow", json={"concurrency": 2})
        await crew.facts.seen(Started, job=second)

        assert _told(crew, second) == [Wake.BACKLOG]
        assert not crew.facts.facts(Finished, job=first)
        await crew.ended(second)


async def test_what_a_pause_held_back_waited_for_that(service: tuple[Front, Shop]) -> None:
    front, shop = service
    async with shop.worker(HANDLERS) as crew:
        await _settle_in(front, crew)
        await front.client.post("/v1/queues/default/pause")
        held = [await _post(front, type="noop") for _ in range(2)]
        await front.client.post("/v1/queues/default/resume")
        for job in held:
            await crew.ended(job)
        later = await _post(front, type="noop")
        await crew.ended(later)

        assert _told(crew, *held, later) == [Wake.BACKLOG, Wake.BACKLOG, Wake.NOTIFY]


async def test_messages_that_wait_for_their_pace_or_their_turn_wait_for_that(
    database_url: str,
) -> None:
    # The objective of dispatch counts messages, too: none that has to wait may count as late.
    sends = JobType(name=JOB_TYPE, payload=MessageRequest, run=_send, is_async=True)
    message = {"phone_number": "+905551111111", "content": "Hello"}
    async with (
        open_front(database_url, job_types=(*TYPES, sends)) as front,
        open_shop(database_url) as shop,
    ):
        await messages.set_pace(front.pool, Pace(batch_size=2, interval_s=1, workers=1))
        async with shop.worker(HANDLERS, on_board=(sends,)) as crew:
            await _settle_in(front, crew)
            sent: list[UUID] = []
            for client in (front.client, front.stranger) * 3:
                answer = await client.post("/v1/messages", json=message)
                sent.append(UUID(answer.json()["id"]))
            for job in sent:
                await crew.ended(job)

    started = [crew.facts.facts(Started, job=job)[0] for job in sent]
    assert started[0].wake is Wake.NOTIFY
    held = [fact for fact in started if fact.at - fact.due_at > 0.4]
    assert len(held) >= 4
    assert {fact.wake for fact in held} == {Wake.BACKLOG}


@pytest.mark.parametrize(
    ("limits", "none"),
    [
        ({"concurrency": 1}, {"concurrency": None}),
        ({"rate": {"limit": 1, "per_s": 60}}, {"rate": None}),
    ],
)
async def test_what_a_limit_held_back_until_it_was_taken_away_waited_for_that(
    service: tuple[Front, Shop], limits: dict[str, object], none: dict[str, None]
) -> None:
    front, shop = service
    await front.client.patch("/v1/queues/narrow", json=limits)
    async with shop.worker(HANDLERS) as crew:
        await _settle_in(front, crew)
        first, second = [await _post(front, type="for_a_while", queue="narrow") for _ in range(2)]
        await crew.facts.seen(Started, job=first)
        await front.client.patch("/v1/queues/narrow", json=none)
        await crew.ended(second)
        later = await _post(front, type="noop", queue="narrow")
        await crew.ended(later)

        assert _told(crew, first, second, later) == [Wake.NOTIFY, Wake.BACKLOG, Wake.NOTIFY]


async def test_a_resumption_excuses_nobody_elses_late_starts(service: tuple[Front, Shop]) -> None:
    front, shop = service
    async with shop.worker(HANDLERS) as crew:
        await _settle_in(front, crew)
        await front.client.post("/v1/queues/default/pause")
        held = await _post(front, type="noop")
        # As if its bell had been lost.
        late = new_id()
        await shop.rows(
            "INSERT INTO signalstack.jobs (user_id, id, type, queue, priority, delayed,"
            " max_attempts, run_at, payload)"
            " SELECT id, %s, 'noop', 'default', 0, false, 3, now(), 'null' FROM signalstack.users"
            " WHERE name = 'other' RETURNING id",
            late,
        )
        await front.client.post("/v1/queues/default/resume")
        for job in (held, late):
            await crew.ended(job)

        assert _told(crew, held, late) == [Wake.BACKLOG, Wake.NOTIFY]


async def test_what_the_operators_limit_held_back_until_it_was_taken_away_waited_for_that(
    service: tuple[Front, Shop],
) -> None:
    front, shop = service
    async with shop.worker(HANDLERS) as crew:
        await _settle_in(front, crew)
        for _ in range(2):  # a run that ends without limits holds no slot of those to come
            async with shop.pool.connection() as conn:
                await queues.govern(conn, name="default", limits=Limits(concurrency=1))
            first, second = [await _post(front, type="for_a_while") for _ in range(2)]
            await crew.facts.seen(Started, job=first)
            async with shop.pool.connection() as conn:
                await queues.govern(conn, name="default", limits=Limits())
            for job in (first, second):
                await crew.ended(job)

            assert _told(crew, first, second) == [Wake.NOTIFY, Wake.BACKLOG]


async def test_what_a_limit_held_back_and_the_poll_found_late_was_found_late(
    service: tuple[Front, Shop],
) -> None:
    front, shop = service
    await front.client.patch("/v1/queues/narrow", json={"concurrency": 1})
    async with shop.worker(HANDLERS, listen=False) as crew:
        first, second = [await _post(front, type="for_a_while", queue="narrow") for _ in range(2)]
        for job in (first, second):
            await crew.ended(job)

        assert _told(crew, first, second) == [Wake.POLL, Wake.POLL]


async def test_a_job_whose_worker_was_lost_comes_back_by_rescue(
    service: tuple[Front, Shop],
) -> None:
    front, shop = service
    async with shop.worker(HANDLERS, lease_s=0.9) as crew:
        await _settle_in(front, crew)
        job = await _post(front, type="hold_first")
        await crew.facts.seen(Started, job=job)
        await shop.bury_unseen(await shop.worker_of(job))

        assert await _wakes(front, crew, job) == ["notify", "rescue"]


def _told(crew: Crew, *jobs: UUID) -> list[Wake]:
    return [crew.facts.facts(Started, job=job)[0].wake for job in jobs]


async def _settle_in(front: Front, crew: Crew) -> None:
    # A worker that starts looks for itself a few times; its timer goes off after the last of them.
    await crew.ended(await _post(front, type="noop", delay_s=0.05))
