"""A worker from end to end on a real PostgreSQL: how jobs start, run, end, and come again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal

import anyio
import pytest

import counting
from signalstack.core.handler import Fail, Retry
from signalstack.core.job import Outcome, Wake
from signalstack.core.stage import (
    Claimed,
    DatabaseReached,
    Finished,
    ListenerChanged,
    Settled,
    Started,
    Woken,
)
from signalstack.telemetry.observer import Telemetry
from working import POLL_S, Crew, Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from signalstack.core.handler import Context

PATIENCE_S = 10


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


Hearing = Literal["listens", "polls"]


@pytest.fixture(params=["listens", "polls"])
def hearing(request: pytest.FixtureRequest) -> Hearing:
    """Run a test twice: with notifications and no poll, and with the poll alone."""
    return request.param


async def _echo(payload: Any, context: Context) -> object:
    await anyio.lowlevel.checkpoint()
    return {"payload": payload, "attempt": context.attempt}


async def test_a_job_runs_and_its_result_is_kept(shop: Shop, hearing: Hearing) -> None:
    async with shop.worker({"echo": (Any, _echo)}, listen=hearing == "listens") as crew:
        job = await shop.enqueue("echo", {"to": "me"})
        await crew.ended(job)
        ran = await shop.ran(job)
        if hearing == "listens":
            await crew.facts.seen(Woken, cause=Wake.NOTIFY)
        else:
            assert not crew.facts.facts(Woken, cause=Wake.NOTIFY)
    assert ran.status == "succeeded"
    assert ran.result == {"payload": {"to": "me"}, "attempt": 1}
    assert await shop.past(job) == []


async def test_a_job_that_waited_for_a_worker_runs(shop: Shop, hearing: Hearing) -> None:
    job = await shop.enqueue("echo", 1)
    async with shop.worker({"echo": (Any, _echo)}, listen=hearing == "listens") as crew:
        await crew.ended(job)
    assert (await shop.ran(job)).status == "succeeded"


async def test_a_plain_function_runs_in_a_thread_of_its_own(shop: Shop, hearing: Hearing) -> None:
    def where(_payload: Any, context: Context) -> object:
        return [threading.current_thread() is threading.main_thread(), context.cancelled]

    async with shop.worker({"where": (Any, where)}, listen=hearing == "listens") as crew:
        job = await shop.enqueue("where")
        await crew.ended(job)
    assert (await shop.ran(job)).result == [False, False]


async def test_failing_runs_come_again_until_the_attempts_are_used_up(
    shop: Shop, hearing: Hearing
) -> None:
    async def refuse(_payload: Any, context: Context) -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError(f"run {context.attempt}")

    async with shop.worker({"refuse": (Any, refuse)}, listen=hearing == "listens") as crew:
        job = await shop.enqueue("refuse", max_attempts=3)
        await crew.ended(job)
        runs = crew.facts.facts(Started, job=job)
    ran = await shop.ran(job)
    assert (ran.status, ran.attempt, ran.last_error) == ("failed", 3, "LookupError: run 3")
    assert [(past.attempt, past.outcome, past.error) for past in await shop.past(job)] == [
        (1, "retried", "LookupError: run 1"),
        (2, "retried", "LookupError: run 2"),
    ]
    assert [run.wake for run in runs[1:]] == [Wake.RETRY, Wake.RETRY]
    assert all(run.at >= run.due_at for run in runs)


async def test_a_run_may_succeed_after_others_failed(shop: Shop, hearing: Hearing) -> None:
    async def second_time(_payload: Any, context: Context) -> str:
        await anyio.lowlevel.checkpoint()
        if context.attempt == 1:
            raise Retry("not yet", after_s=0)
        return "now"

    async with shop.worker(
        {"second_time": (Any, second_time)}, listen=hearing == "listens"
    ) as crew:
        job = await shop.enqueue("second_time")
        await crew.ended(job)
    ran = await shop.ran(job)
    assert (ran.status, ran.attempt, ran.result, ran.last_error) == ("succeeded", 2, "now", None)
    first = await shop.past(job)
    assert [(past.attempt, past.outcome, past.error) for past in first] == [
        (1, "retried", "not yet")
    ]


async def test_a_retry_comes_no_sooner_than_it_asked_for(shop: Shop) -> None:
    async def later(_payload: Any, context: Context) -> None:
        await anyio.lowlevel.checkpoint()
        if context.attempt == 1:
            raise Retry("busy", after_s=0.4)

    async with shop.worker({"later": (Any, later)}) as crew:
        job = await shop.enqueue("later")
        await crew.ended(job)
        first, second = crew.facts.facts(Started, job=job)
    assert second.at >= second.due_at >= first.at + 0.4
    assert second.wake is Wake.RETRY


async def test_fail_leaves_no_second_run(shop: Shop) -> None:
    async def never(_payload: Any, _context: Context) -> None:
        await anyio.lowlevel.checkpoint()
        raise Fail("no such customer")

    async with shop.worker({"never": (Any, never)}) as crew:
        job = await shop.enqueue("never", max_attempts=9)
        await crew.ended(job)
    ran = await shop.ran(job)
    assert (ran.status, ran.attempt, ran.last_error) == ("failed", 1, "no such customer")


async def test_a_delayed_job_starts_when_it_is_due(shop: Shop, hearing: Hearing) -> None:
    async with shop.worker({}, listen=hearing == "listens") as crew:
        job = await shop.enqueue("noop", delay_s=0.5)
        await crew.ended(job)
        (run,) = crew.facts.facts(Started, job=job)
    assert run.wake is Wake.TIMER
    assert run.due_at <= run.at < run.due_at + (0.4 if hearing == "listens" else POLL_S + 0.4)


async def test_delayed_jobs_announced_one_after_the_other_each_start_when_due(shop: Shop) -> None:
    """Each is announced while the promotion that the one before caused may be under way."""
    async with shop.worker({}, concurrency=20) as crew:
        jobs = [await shop.enqueue("noop", delay_s=0.01 * n) for n in range(1, 40)]
        for job in jobs:
            await crew.ended(job)
        runs = [run for job in jobs for run in crew.facts.facts(Started, job=job)]
    assert all(run.due_at <= run.at for run in runs)


async def test_a_worker_serves_no_other_queues_than_its_own(shop: Shop, hearing: Hearing) -> None:
    async with shop.worker({}, queues=("mail",), listen=hearing == "listens") as crew:
        other = await shop.enqueue("noop", queue="reports")
        late = await shop.enqueue("noop", queue="reports", delay_s=0.01)
        mine = await shop.enqueue("noop", queue="mail")
        soon = await shop.enqueue("noop", queue="mail", delay_s=0.05)
        await crew.ended(mine)
        await crew.ended(soon)
        assert {fact.queue for fact in crew.facts.facts(Started)} == {"mail"}
    async with shop.worker({}, queues=("reports",), listen=hearing == "listens") as crew:
        await crew.ended(other)
        await crew.ended(late)


async def test_without_a_list_a_worker_serves_every_queue(shop: Shop, hearing: Hearing) -> None:
    before = await shop.enqueue("noop", queue="old")
    async with shop.worker({}, listen=hearing == "listens") as crew:
        await crew.ended(before)
        after = await shop.enqueue("noop", queue="new")
        await crew.ended(after)


async def test_queues_beyond_the_lanes_of_one_walk_are_served(shop: Shop) -> None:
    """One tenant, thirty queues, each of the first twenty-nine with a job that runs elsewhere."""
    held = [await shop.enqueue("noop", queue=f"q{n:02}") for n in range(29)]
    await shop.rows("UPDATE signalstack.jobs SET lease_token = 1, worker_id = gen_random_uuid()")
    last = await shop.enqueue("noop", queue="q29")
    async with shop.worker({}, concurrency=2) as crew:
        await crew.ended(last)
        assert not [fact for job in held for fact in crew.facts.facts(Started, job=job)]


async def test_claims_rest_when_all_that_is_left_runs_elsewhere(shop: Shop) -> None:
    """Sixty lanes of leased rows: more than one walk takes, and nothing to lease in any."""
    await shop.rows(
        "INSERT INTO signalstack.jobs (user_id, id, type, queue, priority, delayed, max_attempts,"
        " run_at, payload, lease_token, worker_id) SELECT gen_random_uuid(), gen_random_uuid(),"
        " 'noop', 'default', 0, false, 3, now(), 'null', 1, gen_random_uuid()"
        " FROM generate_series(1, 60)"
    )
    async with shop.worker({}, concurrency=2) as crew:
        await crew.ended(await shop.enqueue("noop"))
        await crew.ended(await shop.enqueue("noop"))
        at_rest = len(crew.facts.facts(Claimed))
        # A delayed job is a clock that tells when half a second has gone by.
        await crew.ended(await shop.enqueue("noop", delay_s=0.5))
        assert len(crew.facts.facts(Claimed)) - at_rest < 30


async def test_never_more_jobs_run_at_once_than_allowed(shop: Shop, hearing: Hearing) -> None:
    running = most = 0

    async def count(_payload: Any, _context: Context) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1

    jobs = await shop.enqueue_many("count", [None] * 1_000)
    async with shop.worker(
        {"count": (Any, count)}, concurrency=10, listen=hearing == "listens"
    ) as crew:
        await crew.facts.seen(Finished, count=1_000, timeout_s=30)
    assert most == 10
    assert running == 0
    (row,) = await shop.rows(
        "SELECT count(*) AS n, count(DISTINCT id) AS jobs FROM signalstack.finished_jobs"
        " WHERE status = 'succeeded' AND attempt = 1"
    )
    assert row == {"n": len(jobs), "jobs": len(jobs)}


async def test_a_job_enqueued_while_nobody_listens_is_found(shop: Shop) -> None:
    async with shop.worker({}) as crew:
        await crew.facts.seen(ListenerChanged, up=True)
        assert await shop.kill("claim") == 1
        job = await shop.enqueue("noop")
        await crew.ended(job)


async def test_outcomes_survive_the_loss_of_their_connection(shop: Shop) -> None:
    gates = {n: anyio.Event() for n in range(20)}

    async def wait(payload: int, _context: Context) -> int:
        await gates[payload].wait()
        return payload

    async with shop.worker({"wait": (int, wait)}, concurrency=20) as crew:
        jobs = await shop.enqueue_many("wait", list(gates))
        await crew.facts.seen(Started, count=20)
        for n, gate in gates.items():
            gate.set()
            if n % 5 == 0:
                await crew.facts.seen(Finished, job=jobs[n])
                await shop.kill("settle")
        await crew.facts.seen(Finished, count=20)
    assert [(await shop.ran(job)).result for job in jobs] == list(gates)


async def test_shutdown_waits_for_what_runs(shop: Shop) -> None:
    gate = anyio.Event()

    async def wait(_payload: Any, _context: Context) -> str:
        await gate.wait()
        return "finished in peace"

    async with shop.worker({"wait": (Any, wait)}) as crew:
        job = await shop.enqueue("wait")
        await crew.facts.seen(Started, job=job)
        crew.shutdown.set()
        # Another connection's round trip later the worker has heard of it.
        await shop.rows("SELECT 1")
        gate.set()
        await crew.stop()
    assert (await shop.ran(job)).result == "finished in peace"
    assert await shop.rows("SELECT id FROM signalstack.workers") == []


async def test_waiting_leases_of_a_lost_worker_are_not_kept_from_others(shop: Shop) -> None:
    """Its row was deleted by hand: nothing was rescued, so all that it had must be given back."""
    gate = anyio.Event()

    async def wait(_payload: Any, _context: Context) -> None:
        await gate.wait()

    async with shop.worker({"wait": (Any, wait)}, concurrency=1, lease_s=0.9) as crew:
        jobs = await shop.enqueue_many("wait", [None] * 3)
        await crew.facts.seen(Started)
        await shop.rows("DELETE FROM signalstack.workers")
        await crew.facts.seen(Finished, outcome=Outcome.RELEASED)
        gate.set()
        for job in jobs:
            await crew.ended(job)
    assert {(await shop.ran(job)).status for job in jobs} == {"succeeded"}


async def test_what_outlasts_the_shutdown_is_handed_to_another_worker(shop: Shop) -> None:
    async def stubborn(_payload: Any, context: Context) -> str:
        if context.attempt == 1:
            await anyio.sleep_forever()
        return "by another"

    handlers = {"stubborn": (Any, stubborn)}
    async with shop.worker(handlers, shutdown_timeout_s=0.1, name="first") as crew:
        job = await shop.enqueue("stubborn")
        await crew.facts.seen(Started, job=job)
        await crew.stop()
    (row,) = await shop.rows("SELECT attempt, lease_token, worker_id FROM signalstack.jobs")
    assert row == {"attempt": 1, "lease_token": None, "worker_id": None}
    async with shop.worker(handlers, name="second") as crew:
        await crew.ended(job)
    assert (await shop.ran(job)).result == "by another"
    assert [(past.attempt, past.outcome, past.error) for past in await shop.past(job)] == [
        (1, "released", "handed back: shutdown")
    ]


async def test_an_error_on_being_told_to_stop_does_not_use_the_last_attempt_up(shop: Shop) -> None:
    async def upset(_payload: Any, context: Context) -> str:
        if context.attempt > 1:
            return "second worker"
        try:
            await anyio.sleep_forever()
        finally:
            raise ConnectionError("interrupted")

    handlers = {"upset": (Any, upset)}
    async with shop.worker(handlers, shutdown_timeout_s=0) as crew:
        job = await shop.enqueue("upset", max_attempts=1)
        await crew.facts.seen(Started, job=job)
    assert [past.outcome for past in await shop.past(job)] == ["released"]
    async with shop.worker(handlers) as crew:
        await crew.ended(job)
    assert (await shop.ran(job)).result == "second worker"


async def test_leases_that_were_taken_ahead_are_given_back_not_started(shop: Shop) -> None:
    """Quick jobs make the worker lease ahead; a slow one then holds the rest up for too long."""
    release = anyio.Event()

    async def work(payload: str, _context: Context) -> None:
        if payload == "slow":
            await release.wait()

    quick = await shop.enqueue_many("work", ["quick"] * 500)
    slow = await shop.enqueue_many("work", ["slow"] * 60)
    async with shop.worker({"work": (str, work)}, concurrency=2) as crew:
        await crew.facts.seen(Finished, count=len(quick))
        # The second worker gets what the first one returns; two of them it keeps.
        async with shop.worker({"work": (str, work)}, concurrency=60) as other:
            await other.facts.seen(Started, count=58, timeout_s=PATIENCE_S)
            release.set()
            for job in slow:
                await (crew if crew.facts.facts(Started, job=job) else other).ended(job)
    rows = await shop.rows("SELECT DISTINCT attempt, status FROM signalstack.finished_jobs")
    assert rows == [{"attempt": 1, "status": "succeeded"}]
    assert await shop.rows("SELECT * FROM signalstack.attempts") == []


async def test_few_of_a_burst_are_leased_ahead_however_quick_the_jobs_before_it_were(
    shop: Shop,
) -> None:
    release = anyio.Event()

    async def work(payload: str, _context: Context) -> None:
        if payload == "slow":
            await release.wait()

    async with shop.worker({"work": (str, work)}, concurrency=2) as crew:
        for _ in range(50):
            await crew.ended(await shop.enqueue("work", "quick"))
        slow = await shop.enqueue_many("work", ["slow"] * 60)
        await crew.facts.seen(Started, count=52)
        limits = [fact.limit for fact in crew.facts.facts(Claimed)]
        release.set()
        for job in slow:
            await crew.ended(job)
    assert max(limits) <= 6  # two slots, and not the dozens that end in 10 ms


async def test_a_notification_cancels_what_somebody_wants_cancelled_and_nothing_else(
    shop: Shop,
) -> None:
    release = anyio.Event()

    async def work(_payload: Any, _context: Context) -> str:
        await release.wait()
        return "done"

    async with shop.worker({"work": (Any, work)}) as crew:
        kept, unwanted = await shop.enqueue_many("work", [None, None])
        for job in (kept, unwanted):
            await crew.facts.seen(Started, job=job)
        # Anybody who may connect may notify.
        await shop.rows("SELECT pg_notify('signalstack_cancel', %s)", str(kept))
        await shop.rows(
            "WITH wanted AS ("
            " UPDATE signalstack.jobs SET cancel_requested = true WHERE id = %s RETURNING id)"
            " SELECT pg_notify('signalstack_cancel', id::text) FROM wanted",
            unwanted,
        )
        await crew.facts.seen(Settled, jobs=unwanted)
        assert not await shop.has_finished(kept)
        release.set()
        await crew.ended(kept)

    assert (await shop.ran(unwanted)).status == "cancelled"
    assert (await shop.ran(kept)).result == "done"


async def test_a_cancel_that_nobody_heard_of_is_found_however_many_others_ring(shop: Shop) -> None:
    async def work(_payload: Any, _context: Context) -> None:
        await anyio.sleep_forever()

    async with shop.worker({"work": (Any, work)}, poll_interval_s=0.3) as crew:
        ringing, unheard = await shop.enqueue_many("work", [None, None])
        for job in (ringing, unheard):
            await crew.facts.seen(Started, job=job)
        await shop.rows(
            "UPDATE signalstack.jobs SET cancel_requested = true WHERE id = %s", unheard
        )
        with anyio.fail_after(PATIENCE_S):
            while not crew.facts.facts(Settled, jobs=unheard):
                await shop.rows("SELECT pg_notify('signalstack_cancel', %s)", str(ringing))
                await anyio.sleep(0.05)


async def test_runs_of_a_lost_lease_are_cancelled_and_their_words_do_not_count(shop: Shop) -> None:
    cancelled = anyio.Event()

    async def work(_payload: Any, context: Context) -> str:
        if context.attempt == 1:
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()
        return "second run"

    async with shop.worker({"work": (Any, work)}, lease_s=0.9) as crew:
        job = await shop.enqueue("work")
        await crew.facts.seen(Started, job=job)
        before = await shop.worker_of(job)
        await shop.bury_unseen(before)
        with anyio.fail_after(PATIENCE_S):
            await cancelled.wait()
        stale = await _stale(crew)
        await crew.ended(job)
    ran = await shop.ran(job)
    assert (ran.status, ran.attempt, ran.result) == ("succeeded", 2, "second run")
    assert ran.worker_id != before
    assert [(past.attempt, past.outcome, past.error) for past in await shop.past(job)] == [
        (1, "lost", "the worker that ran this job died or lost its lease")
    ]
    assert stale == 1


async def test_a_run_that_succeeds_after_its_lease_was_lost_is_not_counted(shop: Shop) -> None:
    async def work(_payload: Any, context: Context) -> str:
        if context.attempt == 1:
            with anyio.CancelScope(shield=True):
                await shop.bury_unseen(await shop.worker_of(context.job_id))
        return "done"

    async with shop.worker({"work": (Any, work)}, lease_s=0.9) as crew:
        job = await shop.enqueue("work")
        await crew.facts.seen(
            Finished, job=job, outcome=Outcome.SUCCEEDED, count=2, timeout_s=PATIENCE_S
        )
        await _stale(crew)
        await crew.ended(job)
    assert (await shop.ran(job)).attempt == 2
    assert counting.ended(crew.facts) == {"succeeded": 1}


async def test_a_worker_shows_no_failures_before_its_first_job(shop: Shop) -> None:
    async def work(_payload: Any, _context: Context) -> None:
        await anyio.lowlevel.checkpoint()
        raise Fail("no")

    await shop.enqueue("work")
    async with shop.worker({"work": (Any, work)}) as crew:
        await crew.facts.seen(Settled)
    (first,) = crew.facts.facts(Started)
    telemetry = Telemetry(version="1.2.3")
    for fact in crew.facts.told[: crew.facts.told.index(first)]:
        telemetry.tell(fact)
    labels = {"queue": "default", "type": "work", "outcome": "failed"}
    shown = telemetry.registry.get_sample_value("signalstack_jobs_finished_total", labels)
    assert shown == 0


async def test_a_worker_that_cannot_record_outcomes_does_not_reach_the_database(
    shop: Shop,
) -> None:
    async with shop.worker({}) as crew:
        await crew.facts.seen(DatabaseReached, name="claim", up=True)
        await crew.facts.seen(DatabaseReached, name="settle", up=True)
        assert await shop.kill("settle") == 1
        await crew.facts.seen(DatabaseReached, name="settle", up=False)
        await crew.facts.seen(DatabaseReached, name="settle", up=True, count=2)
        assert [fact.up for fact in crew.facts.facts(DatabaseReached, name="claim")] == [True]


async def test_what_is_counted_is_what_is_recorded(shop: Shop) -> None:
    async def refused(_payload: Any, _context: Context) -> str:
        await anyio.lowlevel.checkpoint()
        return "no text of PostgreSQL's has a \x00"

    async def unwanted(_payload: Any, context: Context) -> None:
        await shop.rows(
            "UPDATE signalstack.jobs SET cancel_requested = true WHERE id = %s", context.job_id
        )
        raise Retry("again", after_s=0)

    async def flaky(_payload: Any, context: Context) -> None:
        await anyio.lowlevel.checkpoint()
        if context.attempt == 1:
            raise Retry("again", after_s=0)

    handlers = {"refused": (Any, refused), "unwanted": (Any, unwanted), "flaky": (Any, flaky)}
    async with shop.worker(handlers) as crew:
        jobs = [await shop.enqueue(name) for name in handlers]
        for job, records in zip(jobs, (1, 1, 2), strict=True):
            await crew.facts.seen(Settled, jobs=job, count=records, timeout_s=PATIENCE_S)
    recorded = [(await shop.ran(job)).status for job in jobs]
    assert recorded == ["failed", "cancelled", "succeeded"]
    assert counting.ended(crew.facts) == {"failed": 1, "cancelled": 1, "succeeded": 1, "retried": 1}


async def test_a_worker_whose_row_is_gone_hands_back_under_a_new_name(shop: Shop) -> None:
    async def work(_payload: Any, context: Context) -> str:
        if context.attempt == 1:
            await anyio.sleep_forever()
        return "second run"

    async with shop.worker({"work": (Any, work)}, lease_s=0.9) as crew:
        job = await shop.enqueue("work")
        await crew.facts.seen(Started, job=job)
        before = await shop.worker_of(job)
        await shop.rows("DELETE FROM signalstack.workers")
        await crew.ended(job)
        ran = await shop.ran(job)
    assert (ran.attempt, ran.result) == (2, "second run")
    assert ran.worker_id != before


async def _stale(crew: Crew) -> int:
    """Wait until an outcome came too late."""
    fact = await crew.facts.seen(Settled, stale=1, timeout_s=PATIENCE_S)
    assert fact.jobs == ()
    assert not crew.facts.facts(Finished, outcome=Outcome.LOST)
    return fact.stale
