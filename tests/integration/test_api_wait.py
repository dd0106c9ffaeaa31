"""Waiting for a job's end over HTTP, with a real worker at the other end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from contexts import Witness
from front import Front, client_of, open_front
from rows import connect, open_link
from signalstack.api.parts import Limits
from signalstack.core.errors import UnavailableError
from signalstack.core.handler import Fail
from signalstack.core.ids import new_id
from signalstack.core.job import Status
from signalstack.core.stage import PoolSampled, Queried, Started
from signalstack.store.intake import SESSION
from signalstack.store.watch import STATEMENTS, outcome
from signalstack.usecases.wait import Watchers
from working import Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx2

    from signalstack.core.handler import Context

PATIENCE_S = 20
CROWD = 1_000


@pytest.fixture
async def front(database_url: str) -> AsyncIterator[Front]:
    async with open_front(database_url, limits=Limits(request_timeout_s=1.0)) as front:
        yield front


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


async def until(true: Callable[[], bool]) -> None:
    """Let others run until something is true."""
    with anyio.fail_after(PATIENCE_S):
        while not true():
            await anyio.lowlevel.checkpoint()


class Gate:
    """A handler that ends when it is let through."""

    def __init__(self) -> None:
        self.open = anyio.Event()

    async def run(self, _payload: Any, _context: Context) -> str:
        await self.open.wait()
        return "through"


async def later(
    ask: Callable[[], Any], between: Callable[[], Any], answers: list[httpx2.Response]
) -> None:
    """Ask, and do something else while the answer is awaited."""

    async def keep() -> None:
        answers.append(await ask())

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep)
            await between()


async def test_creating_may_answer_with_the_end(front: Front, shop: Shop) -> None:
    async with shop.worker({}):
        answer = await front.client.post(
            "/v1/jobs", json={"type": "noop"}, headers={"prefer": "wait=20"}
        )

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["attempt"]) == ("succeeded", 1)
    assert (await front.client.get(f"/v1/jobs/{job['id']}")).json() == job


async def test_a_failure_is_an_end_too(front: Front, shop: Shop) -> None:
    async def refuse(_payload: Any, _context: Context) -> None:
        raise Fail("never")

    async with shop.worker({"greet": (Any, refuse)}):
        answer = await front.client.post(
            "/v1/jobs",
            json={"type": "greet", "payload": {"to": "you"}},
            headers={"prefer": "wait=20"},
        )

    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"


async def test_a_wait_outlasts_the_request_timeout_and_runs_out(front: Front) -> None:
    began = anyio.current_time()
    answer = await front.client.post(
        "/v1/jobs", json={"type": "noop"}, headers={"prefer": "wait=2"}
    )

    assert anyio.current_time() - began >= 2
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert "preference-applied" not in answer.headers
    assert answer.json()["status"] == "pending"


@pytest.mark.parametrize(
    "prefer", ["wait=0", "respond-async", 'return=minimal; x="wait=9, y"', "handling=lenient", ""]
)
async def test_other_preferences_are_ignored(front: Front, prefer: str) -> None:
    answer = await front.client.post("/v1/jobs", json={"type": "noop"}, headers={"prefer": prefer})

    assert answer.status_code == 201


@pytest.mark.parametrize(
    "prefer", ['respond-async, Wait="20"', "wait = 20; a=b, wait=61", "x=y,,wait=20"]
)
async def test_a_preference_may_stand_among_others(front: Front, shop: Shop, prefer: str) -> None:
    async with shop.worker({}):
        answer = await front.client.post(
            "/v1/jobs", json={"type": "noop"}, headers={"prefer": prefer}
        )

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"


@pytest.mark.parametrize("prefer", ["wait=61", "wait=x", "wait=-1", "wait", "wait=", "wait=1.5"])
async def test_no_number_of_seconds_is_malformed(front: Front, prefer: str) -> None:
    answer = await front.client.post("/v1/jobs", json={"type": "noop"}, headers={"prefer": prefer})

    assert answer.status_code == 400
    assert (await front.client.get("/v1/jobs")).json()["data"] == []


async def test_a_repeat_waits_for_the_job_there_is(front: Front, shop: Shop) -> None:
    headers = {"idempotency-key": "k-1"}
    first = await front.client.post("/v1/jobs", json={"type": "noop"}, headers=headers)
    headers["prefer"] = "wait=1"
    unfinished = await front.client.post("/v1/jobs", json={"type": "noop"}, headers=headers)
    headers["prefer"] = "wait=20"
    async with shop.worker({}):
        finished = await front.client.post("/v1/jobs", json={"type": "noop"}, headers=headers)

    assert (unfinished.status_code, finished.status_code) == (202, 200)
    for answer in (unfinished, finished):
        assert answer.headers["idempotent-replayed"] == "true"
        assert answer.headers["location"] == first.headers["location"]
    assert finished.json()["status"] == "succeeded"


async def test_looking_up_may_wait_for_the_end(front: Front, shop: Shop) -> None:
    gate, answers = Gate(), list[Any]()
    async with shop.worker({"gate": (Any, gate.run)}) as crew:
        job = await shop.enqueue("gate")
        await crew.facts.seen(Started, job=job)

        async def let_through() -> None:
            # Nobody was to be told before somebody waited.
            await until(lambda: _asked(front) == 1)
            gate.open.set()

        await later(
            partial(front.client.get, f"/v1/jobs/{job}", params={"wait": 20}), let_through, answers
        )

    assert answers[0].status_code == 200
    assert (answers[0].json()["status"], answers[0].json()["result"]) == ("succeeded", "through")


async def test_asking_for_a_job_that_waits_does_not_hide_it_from_its_worker(
    front: Front, shop: Shop
) -> None:
    answers = list[Any]()
    job = await shop.enqueue("noop")

    async def work() -> None:
        await until(lambda: _asked(front) == 1)
        async with shop.worker({}) as crew:
            await crew.ended(job)

    await later(partial(front.client.get, f"/v1/jobs/{job}", params={"wait": 20}), work, answers)

    assert answers[0].json()["status"] == "succeeded"


async def test_looking_up_answers_with_what_there_is_when_time_runs_out(front: Front) -> None:
    made = await front.client.post("/v1/jobs", json={"type": "noop", "delay_s": 3600})

    answer = await front.client.get(made.headers["location"], params={"wait": 1})

    assert answer.status_code == 200
    assert answer.json() == made.json()


async def test_cancelling_ends_a_wait(front: Front) -> None:
    answers = list[Any]()
    made = await front.client.post("/v1/jobs", json={"type": "noop"})
    path = made.headers["location"]

    async def cancel() -> None:
        await until(lambda: _asked(front) == 1)
        await front.client.post(f"{path}/cancel")

    await later(partial(front.client.get, path, params={"wait": 20}), cancel, answers)

    assert answers[0].json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("{own}", "wait=61", 400),
        ("{own}", "wait=x", 400),
        ("{own}", "wait=-1", 400),
        ("{own}", "wait=1&wait=2", 400),
        ("{own}", "until=2", 400),
        ("/v1/jobs/019ac1f0-0000-7000-8000-000000000000", "wait=20", 404),
    ],
)
async def test_what_cannot_be_waited_for(front: Front, path: str, query: str, status: int) -> None:
    made = await front.client.post("/v1/jobs", json={"type": "noop"})

    answer = await front.client.get(f"{path.format(own=made.headers['location'])}?{query}")

    assert answer.status_code == status


async def test_nobody_waits_for_a_foreign_job(front: Front) -> None:
    made = await front.client.post("/v1/jobs", json={"type": "noop"})

    answer = await front.stranger.get(made.headers["location"], params={"wait": 20})

    assert answer.status_code == 404


@pytest.fixture
async def roomy(database_url: str) -> AsyncIterator[Front]:
    """An API that gives a crowd on a busy machine the time to be stored."""
    async with open_front(database_url, limits=Limits(request_timeout_s=PATIENCE_S)) as front:
        yield front


async def test_a_crowd_waits_without_a_connection_each(roomy: Front, shop: Shop) -> None:
    answers: list[httpx2.Response] = []
    key = roomy.client.headers["authorization"].removeprefix("Bearer ")

    async def ask(client: httpx2.AsyncClient) -> None:
        answers.append(
            await client.post("/v1/jobs", json={"type": "noop"}, headers={"prefer": "wait=60"})
        )

    async with client_of(roomy.app, key) as client, anyio.create_task_group() as tasks:
        for _ in range(CROWD):
            tasks.start_soon(ask, client)
        with anyio.fail_after(PATIENCE_S):
            while await _count(shop) < CROWD:
                await anyio.lowlevel.checkpoint()
        sampled = [fact for fact in roomy.witness.facts if isinstance(fact, PoolSampled)]
        assert (sampled[-1].used, sampled[-1].waiting) == (0, 0)
        assert _asked(roomy) == 0
        async with shop.worker({}, concurrency=10):
            await until(lambda: len(answers) == CROWD)

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["status"] for answer in answers} == {"succeeded"}


async def test_what_was_not_heard_is_found_by_looking(front: Front, shop: Shop) -> None:
    deaf = Watchers(front.pool, partial(outcome, front.link), look_interval_s=0.05)
    shutdown = anyio.Event()
    async with anyio.create_task_group() as tasks, shop.worker({}) as crew:
        tasks.start_soon(deaf.run, shutdown)
        job = await shop.enqueue("noop", delay_s=0.2)
        ended = await deaf.end_of(shop.user_id, job, timeout_s=PATIENCE_S)
        await crew.ended(job)
        shutdown.set()
        assert ended.status is Status.SUCCEEDED


async def test_an_outcome_that_cannot_be_read_now_is_unavailability(database_url: str) -> None:
    settings = SESSION | {"lock_timeout": "50ms"}
    async with (
        open_link(database_url, Witness(), STATEMENTS, settings=settings) as link,
        connect(database_url) as rival,
        rival.transaction(),
    ):
        await rival.execute("LOCK TABLE signalstack.finished_jobs")

        with pytest.raises(UnavailableError):
            await outcome(link, new_id(), new_id())


async def test_the_end_of_the_process_ends_all_waits(front: Front, shop: Shop) -> None:
    job = await shop.enqueue("noop")
    watchers, shutdown = Watchers(front.pool, partial(outcome, front.link)), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watchers.run, shutdown)

        async def end() -> None:
            await until(lambda: _asked(front) == 1)
            shutdown.set()

        tasks.start_soon(end)
        with anyio.fail_after(PATIENCE_S):
            found = await watchers.end_of(shop.user_id, job, timeout_s=3600)
            assert found.status is Status.PENDING
    with pytest.raises(UnavailableError), watchers.watch(shop.user_id, job):
        pass


async def test_only_so_many_may_wait(front: Front, shop: Shop) -> None:
    job = await shop.enqueue("noop")
    watchers = Watchers(front.pool, partial(outcome, front.link), limit=1)
    with watchers.watch(shop.user_id, job), pytest.raises(UnavailableError):
        await watchers.end_of(shop.user_id, job, timeout_s=1)
    with watchers.watch(shop.user_id, job):
        pass


async def test_one_tenants_waiters_leave_room_for_others(front: Front, shop: Shop) -> None:
    watchers = Watchers(front.pool, partial(outcome, front.link), limit=4)
    for _ in range(2):  # what was given back is there again
        with (
            watchers.watch(shop.user_id, new_id()),
            watchers.watch(shop.user_id, new_id()),
            watchers.watch(new_id(), new_id()),
        ):
            with (
                pytest.raises(UnavailableError, match=r"^2 callers of yours"),
                watchers.watch(shop.user_id, new_id()),
            ):
                pass
            with (
                watchers.watch(new_id(), new_id()),
                pytest.raises(UnavailableError, match=r"^4 callers wait"),
                watchers.watch(new_id(), new_id()),
            ):
                pass


def _asked(front: Front) -> int:
    """Count who asked for the end of a job to be announced."""
    facts = front.witness.facts
    return sum(isinstance(fact, Queried) and fact.query == "watch/ask" for fact in facts)


async def _count(shop: Shop) -> int:
    (row,) = await shop.rows("SELECT count(*) AS n FROM signalstack.jobs")
    return int(row["n"])
