"""What a claimer does about answers that never came, and about rows that died and stay."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from time import time
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import pytest

from recording import RecordingObserver
from rows import add_jobs, add_user, connect, dead_jobs, lock_job
from signalstack.core.endpoint_config import Rate
from signalstack.core.errors import SignalStackError, UnavailableError
from signalstack.core.ids import id_floor
from signalstack.core.job import Outcome, Status
from signalstack.core.queue import QueueChange
from signalstack.store.claims import NIL
from signalstack.store.dispatch import (
    CLAIM_SESSION,
    CLAIM_STATEMENTS,
    SETTLE_STATEMENTS,
    Dispatch,
    Promotion,
)
from signalstack.store.link import Link, StatementError
from signalstack.store.listener import AGAIN, READY
from signalstack.store.outcomes import Ended
from signalstack.store.workers import WorkerLease
from signalstack.usecases import control, look_up, queue_control
from signalstack.worker.claimer import Claimer
from working import NEVER_S, POLL_S, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from uuid import UUID

    from signalstack.store.claims import Claim, Lease
    from signalstack.store.dispatch import Disowned, Promotion
    from working import Shop


_FEW: Final = 10


class _Lossy(Dispatch):
    """Breaks the connection between the commit of the first claim and its answer."""

    def __init__(self, claims: Link, settlements: Link) -> None:
        super().__init__(claims, settlements)
        self.committed = anyio.Event()
        self.breaks = anyio.Event()
        self.disowned = 0

    async def disown(self, tokens: Sequence[int]) -> Disowned:
        self.disowned += 1
        return await super().disown(tokens)

    async def claim(self, *args: Any, **given: Any) -> Claim:
        claim = await super().claim(*args, **given)
        if claim.leases and not self.committed.is_set():
            self.committed.set()
            with anyio.move_on_after(10):  # nobody else ends it
                await self.breaks.wait()
            raise UnavailableError("the connection broke")
        return claim


class _Noted(Dispatch):
    """Notes from which id on each claim was."""

    def __init__(self, claims: Link, settlements: Link) -> None:
        super().__init__(claims, settlements)
        self.sinces: list[bytes] = []

    async def claim(self, *args: Any, **given: Any) -> Claim:
        self.sinces.append(given["since"])
        return await super().claim(*args, **given)


class _Failing(Dispatch):
    """Promotes nothing for as long as there is an error."""

    def __init__(self, claims: Link, settlements: Link) -> None:
        super().__init__(claims, settlements)
        self.error: SignalStackError | None = None
        self.promoted = anyio.Event()
        self.failed = anyio.Event()
        self._failures = 0

    async def promote(self, **given: Any) -> Promotion:
        if self.error is None:
            promotion = await super().promote(**given)
            self.promoted.set()
            return promotion
        self.failed.set()
        self._failures += 1
        # It refuses without a turn of the event loop, as a link does that is down: who asked again
        # and again would keep this test from ever failing.
        assert self._failures < _FEW, "it is asked again and again"
        raise self.error


class _Cut(Dispatch):
    """Has looks at everything take too long, as beside millions of dead rows."""

    async def claim(self, *args: Any, **given: Any) -> Claim:
        if given["since"] == NIL:
            await self._cut()
        return await super().claim(*args, **given)

    async def promote(self, *, busy: bool = False, host: UUID | None = None) -> Promotion:
        if busy:
            await self._cut()
        return await super().promote(busy=busy, host=host)

    async def _cut(self) -> None:
        with anyio.CancelScope() as scope:
            scope.deadline = anyio.current_time() + 0.2
            await anyio.sleep_forever()
        raise StatementError("57014", "canceling statement due to statement timeout")


class Desk:
    """A claimer at work, and what it leased."""

    shop: Shop
    claimer: Claimer

    def __init__(self, worker_id: UUID) -> None:
        self.worker_id = worker_id
        self.leases: list[Lease] = []
        self._more = anyio.Event()

    def heard(self, channel: str, payload: str) -> None:
        self.claimer.heard(channel, payload)

    def put(self, leases: list[Lease], *, more: bool) -> None:  # noqa: ARG002 - the protocol
        self.leases += leases
        self._more.set()

    async def leased(self, count: int) -> list[Lease]:
        """Wait until so many were leased."""
        with anyio.fail_after(10):
            while len(self.leases) < count:
                self._more = anyio.Event()
                await self._more.wait()
        return self.leases


@asynccontextmanager
async def _at_work(
    database_url: str,
    kind: type[Dispatch],
    *,
    hears: bool = True,
    poll_s: float = NEVER_S,
    room: int = 10,
    slots: int = 10,
    settings: Mapping[str, str] = CLAIM_SESSION,
) -> AsyncGenerator[tuple[Desk, Any]]:
    """Have a claimer claim by way of such a dispatch."""
    facts = RecordingObserver()
    lease = WorkerLease(database_url, name="test", queues=(), concurrency=10, lease_s=30)
    desk = Desk(await anyio.to_thread.run_sync(lease.take))
    link = Link(
        "claim",
        database_url,
        (*CLAIM_STATEMENTS, *SETTLE_STATEMENTS),
        facts,
        settings=settings,
        channels=(READY, AGAIN),
        on_notify=desk.heard,
    )
    dispatch = kind(link, link)
    desk.claimer = Claimer(
        dispatch,
        facts,
        queues=(),
        worker_id=lambda: desk.worker_id,
        room=lambda: room,
        slots=slots,
        put=desk.put,
        on_claimed=lambda: None,
        on_polled=lambda _token: None,
        hears=lambda: hears,
        poll_interval_s=poll_s,
        rng=random.Random(),  # noqa: S311 - a lease token is no secret
    )
    with closing(lease):
        async with open_shop(database_url) as desk.shop, anyio.create_task_group() as tasks:
            await tasks.start(link.keep)
            tasks.start_soon(desk.claimer.claim_forever)
            yield desk, dispatch
            tasks.cancel_scope.cancel()


async def test_jobs_of_a_claim_whose_answer_was_lost_are_leased_anew(database_url: str) -> None:
    async with _at_work(database_url, _Lossy) as (desk, lossy), anyio.create_task_group() as tasks:
        jobs = await desk.shop.enqueue_many("noop", [None] * 3)
        tasks.start_soon(desk.claimer.look_forever)
        desk.claimer.look()
        with anyio.fail_after(10):
            await lossy.committed.wait()
        lossy.breaks.set()
        desk.claimer.look()  # as the listener has it do when it is back
        leases = await desk.leased(3)

        assert [one.job_id for one in leases] == jobs
        assert [one.attempt for one in leases] == [1, 1, 1]
        tasks.cancel_scope.cancel()


async def test_who_leaves_soon_after_a_claim_was_lost_does_not_say_that_all_is_given_back(
    database_url: str,
) -> None:
    """It may still be under way: what it leases is rescued when the lease of its worker ends."""
    async with _at_work(database_url, _Lossy) as (desk, lossy):
        assert await desk.claimer.give_back()
        await desk.shop.enqueue("noop")
        desk.claimer.look()
        with anyio.fail_after(10):
            await lossy.committed.wait()
        lossy.breaks.set()
        await desk.shop.enqueue("noop")
        desk.claimer.look()
        await desk.leased(1)
        assert not await desk.claimer.give_back()


async def test_a_job_that_was_cancelled_beside_a_lost_claim_is_not_leased_again(
    database_url: str,
) -> None:
    async with _at_work(database_url, _Lossy) as (desk, lossy), anyio.create_task_group() as tasks:
        shop, told = desk.shop, RecordingObserver()
        cancelled, other = await shop.enqueue_many("noop", [None] * 2)
        tasks.start_soon(desk.claimer.look_forever)
        desk.claimer.look()
        with anyio.fail_after(10):
            await lossy.committed.wait()
        await control.cancel(shop.pool, shop.user_id, cancelled, observer=told)
        lossy.breaks.set()
        desk.claimer.look()  # as the listener has it do when it is back
        leases = await desk.leased(1)

        assert [one.job_id for one in leases] == [other]
        job = await look_up.get_job(shop.pool, shop.user_id, cancelled)
        assert (job.status, job.attempt) == (Status.CANCELLED, 0)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
async def test_what_cannot_be_given_back_yet_keeps_nothing_else_from_coming_due(
    database_url: str, limit: str
) -> None:
    """As where the many live jobs that are read for it cannot be read in time."""
    settings = CLAIM_SESSION | {"lock_timeout": "0", limit: "200ms"}
    async with (
        _at_work(database_url, _Lossy, settings=settings) as (desk, lossy),
        connect(database_url) as rival,
        anyio.create_task_group() as tasks,
    ):
        lost = await desk.shop.enqueue("noop")
        tasks.start_soon(desk.claimer.look_forever)
        desk.claimer.look()
        with anyio.fail_after(10):
            await lossy.committed.wait()
        await rival.execute("BEGIN")
        await lock_job(rival, lost)
        due = await desk.shop.enqueue("noop", run_at=datetime.now(UTC) + timedelta(seconds=0.5))
        lossy.breaks.set()
        desk.claimer.look()  # as the listener has it do when it is back
        leases = list(await desk.leased(1))
        asked = lossy.disowned
        await rival.execute("ROLLBACK")

        assert [one.job_id for one in leases] == [due]
        assert asked == 1  # claims wait behind it
        assert {one.job_id for one in await desk.leased(2)} == {lost, due}
        tasks.cancel_scope.cancel()


async def test_who_waits_for_a_limit_lets_the_event_loop_turn_while_postgresql_is_away(
    database_url: str,
) -> None:
    away = UnavailableError("the link is down")
    async with _held_back(database_url, away) as (desk, failing):
        failing.error = None
        desk.claimer.look()  # as the listener has it do when it is back
        await desk.leased(2)


async def test_what_a_limit_held_back_is_leased_though_delayed_jobs_cannot_be_promoted(
    database_url: str,
) -> None:
    locked = StatementError("55P03", "canceling statement due to lock timeout")
    async with _held_back(database_url, locked) as (desk, _):
        await desk.leased(2)


@asynccontextmanager
async def _held_back(
    database_url: str, error: SignalStackError
) -> AsyncGenerator[tuple[Desk, _Failing]]:
    """Have a claimer lease one of two jobs, and meet an error when the rate allows the other."""
    async with (
        _at_work(database_url, _Failing) as (desk, failing),
        anyio.create_task_group() as tasks,
    ):
        shop, slow = desk.shop, QueueChange(rate=Rate(limit=5, burst=1))
        await queue_control.limit(shop.pool, shop.user_id, "default", slow)
        tasks.start_soon(desk.claimer.look_forever)
        with anyio.fail_after(10):
            await failing.promoted.wait()
            failing.error = error
            await shop.enqueue_many("noop", [None] * 2)
            await failing.failed.wait()
        assert len(desk.leases) == 1
        yield desk, failing
        tasks.cancel_scope.cancel()


async def test_beside_dead_rows_claims_are_at_new_ids_until_an_old_one_waits_again(
    database_url: str,
) -> None:
    async with (
        connect(database_url) as conn,
        dead_jobs(database_url, conn, 20_000),
        _at_work(database_url, _Noted) as (desk, noted),
    ):
        jobs: list[UUID] = []
        for n in range(3):
            jobs.append(await desk.shop.enqueue("noop"))
            await desk.leased(n + 1)
        looked = list(noted.sinces)
        handed_back = Ended(
            lease=desk.leases[0], outcome=Outcome.RELEASED, started_at=None, finished_at=time()
        )
        await noted.settle([handed_back], worker_id=desk.worker_id)
        leases = await desk.leased(4)

    assert [one.job_id for one in leases] == [*jobs, jobs[0]]
    assert [since == NIL for since in looked] == [True, False, False]
    assert noted.sinces[3] == NIL


async def test_looks_that_take_too_long_hold_up_neither_new_jobs_nor_those_that_come_due(
    database_url: str,
) -> None:
    async with (
        _at_work(database_url, _Cut, poll_s=POLL_S) as (desk, _),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(desk.claimer.look_forever)
        desk.claimer.look()
        due = datetime.now(UTC) + timedelta(seconds=0.5)
        jobs = [await desk.shop.enqueue("noop", run_at=due)]
        for n in range(3):
            jobs.append(await desk.shop.enqueue("noop"))
            # As beside retries: an older one waits again.
            desk.claimer.heard(AGAIN, "default")
            await desk.leased(n + 1)

        assert {one.job_id for one in await desk.leased(4)} == set(jobs)
        tasks.cancel_scope.cancel()


async def test_who_empties_a_backlog_steps_over_what_it_took_and_leaves_none(
    database_url: str,
) -> None:
    async with (
        connect(database_url) as conn,
        _at_work(database_url, _Noted, room=60) as (desk, noted),
    ):
        # Of the lowest priority are the oldest: while others follow each other they are not seen.
        made_at = datetime.now(UTC) - timedelta(hours=1)
        ids = [id_floor(made_at + timedelta(seconds=n)) for n in range(240)]
        await add_jobs(conn, desk.shop.user_id, ids=ids[:60], priority=-1)
        await add_jobs(conn, desk.shop.user_id, ids=ids[60:])
        desk.claimer.look()
        leases = await desk.leased(240)

    assert [one.job_id for one in leases] == [*ids[60:], *ids[:60]]
    assert {NIL} < set(noted.sinces)


@pytest.mark.parametrize(
    ("slots", "room", "expected"),
    [
        pytest.param(10, 10, [1] * 10, id="one for each slot"),
        pytest.param(40, 80, [2] * 40, id="no lane less than there are slots"),
        pytest.param(10, 120, [4] * 30, id="a few of each ahead"),
    ],
)
async def test_many_lanes_take_turns(
    database_url: str, slots: int, room: int, expected: list[int]
) -> None:
    async with (
        connect(database_url) as conn,
        _at_work(database_url, _Noted, room=room, slots=slots) as (desk, _),
    ):
        for n in range(50):
            await add_jobs(conn, await add_user(conn, f"tenant {n}"), 8)
        desk.claimer.look()
        leases = (await desk.leased(room))[:room]

    assert sorted(Counter([lease.user_id for lease in leases]).values()) == expected


@pytest.mark.parametrize(
    ("slots", "room", "tenants"),
    [
        pytest.param(10, 1, 17, id="one job at a time, one lane more than a claim visits"),
        pytest.param(20, 80, 21, id="several of each, one lane more than a claim visits"),
    ],
)
async def test_who_comes_last_in_a_round_gets_no_more_than_others(
    database_url: str, slots: int, room: int, tenants: int
) -> None:
    turns = 20
    async with (
        connect(database_url) as conn,
        _at_work(database_url, _Noted, room=room, slots=slots) as (desk, _),
    ):
        for n in range(tenants):
            await add_jobs(conn, await add_user(conn, f"tenant {n}"), 20 * turns)
        desk.claimer.look()
        await desk.leased(4 * room)  # the first round tells how many there are
        told = len(desk.leases)
        leases = (await desk.leased(told + tenants * turns))[told : told + tenants * turns]

    counts = Counter([lease.user_id for lease in leases])
    assert max(counts.values()) < 3 * turns
    assert len(counts) == tenants


async def test_a_tenant_alone_in_a_queue_gets_no_more_than_those_who_share_another(
    database_url: str,
) -> None:
    turns = 20
    async with (
        connect(database_url) as conn,
        _at_work(database_url, _Noted, room=14, slots=14) as (desk, _),
    ):
        tenants = sorted([await add_user(conn, f"tenant {n}") for n in range(41)])
        for tenant in tenants[:-1]:
            await add_jobs(conn, tenant, 5 * turns)
        await add_jobs(conn, tenants[-1], 5 * turns, queue="other")
        desk.claimer.serves("other")
        desk.claimer.look()
        await desk.leased(100)  # the first rounds tell how many there are
        told = len(desk.leases)
        leases = (await desk.leased(told + 41 * turns))[told : told + 41 * turns]

    counts = Counter([lease.user_id for lease in leases])
    assert max(counts.values()) < 2 * turns


async def test_who_hears_nothing_looks_at_everything_with_each_poll(database_url: str) -> None:
    async with (
        connect(database_url) as conn,
        dead_jobs(database_url, conn, 20_000),
        _at_work(database_url, _Noted, hears=False, poll_s=POLL_S) as (desk, noted),
        anyio.create_task_group() as tasks,
    ):
        await desk.shop.enqueue("noop")
        await desk.leased(1)
        tasks.start_soon(desk.claimer.look_forever)
        old = id_floor(datetime.now(UTC) - timedelta(hours=1))
        await add_jobs(conn, desk.shop.user_id, ids=[old])  # by hand: no bell is rung
        leases = await desk.leased(2)
        assert leases[1].job_id == old
        assert set(noted.sinces) == {NIL}
        tasks.cancel_scope.cancel()
