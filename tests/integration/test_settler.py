"""How outcomes are recorded when PostgreSQL is away, refuses, or has heard it before."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import counting
from recording import RecordingObserver
from rows import connect
from signalstack.core.errors import UnavailableError
from signalstack.core.ids import new_id
from signalstack.core.job import Outcome, Wake
from signalstack.core.queue import QueueChange
from signalstack.core.stage import Queried, Settled
from signalstack.store.claims import NIL, Lease
from signalstack.store.dispatch import CLAIM_STATEMENTS, SESSION, SETTLE_STATEMENTS, Dispatch
from signalstack.store.link import Link
from signalstack.store.outcomes import Ended, Settlement
from signalstack.usecases import queue_control
from signalstack.worker.settler import BACKLOG_BYTES, BATCH, Settler
from tenants import make_tenant
from working import Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from uuid import UUID

    from rows import Database

PATIENCE_S = 10


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


class Desk:
    """A settler at work, and leases for it to settle."""

    settler: Settler

    def __init__(self, dispatch: Dispatch, facts: RecordingObserver) -> None:
        self.facts = facts
        self.dispatch = dispatch
        self.rooms = 0
        self._worker_id = new_id()

    def has_room(self) -> None:
        """Hear that there may be room again."""
        self.rooms += 1

    async def lease(self, shop: Shop, count: int) -> list[Lease]:
        """Enqueue jobs and claim them."""
        await shop.enqueue_many("noop", [None] * count)
        await shop.rows(
            "INSERT INTO signalstack.workers (id, name, queues, concurrency, lease_until)"
            " VALUES (%s, 'desk', '{}', 1, now() + interval '1 h') ON CONFLICT DO NOTHING",
            self._worker_id,
        )
        claim = await self.dispatch.claim(
            ["default"],
            worker_id=self._worker_id,
            token=new_id().int % 2**63,
            limit=count,
            lanes=16,
            cursor=NIL,
            cause=Wake.POLL,
        )
        return claim.leases

    async def drained(self) -> None:
        """Wait until everything is recorded."""
        with anyio.fail_after(PATIENCE_S):
            await self.settler.drain()


class _HardOfHearing(Dispatch):
    """Loses the answer to the first settlement, which is committed all the same."""

    _lost = False

    async def settle(self, ended: Sequence[Ended], *, worker_id: UUID) -> Settlement:
        settlement = await super().settle(ended, worker_id=worker_id)
        if not self._lost:
            self._lost = True
            raise UnavailableError("the link was lost")
        return settlement


class _Gated(Dispatch):
    """Keeps a settlement of one on its way until the gate is open."""

    def __init__(self, claims: Link, settlements: Link) -> None:
        super().__init__(claims, settlements)
        self.gate = anyio.Event()

    async def settle(self, ended: Sequence[Ended], *, worker_id: UUID) -> Settlement:
        if len(ended) == 1:
            with anyio.fail_after(PATIENCE_S):
                await self.gate.wait()
        return await super().settle(ended, worker_id=worker_id)


class _Counting(Dispatch):
    """Takes down how many outcomes each settlement had."""

    sizes: list[int]

    async def settle(self, ended: Sequence[Ended], *, worker_id: UUID) -> Settlement:
        vars(self).setdefault("sizes", []).append(len(ended))
        return await super().settle(ended, worker_id=worker_id)


@asynccontextmanager
async def _desk(
    dsn: str, kind: type[Dispatch] = Dispatch, *, settings: Mapping[str, str] = SESSION
) -> AsyncGenerator[Desk]:
    facts = RecordingObserver()
    claims = Link("claim", dsn, CLAIM_STATEMENTS, facts, settings=SESSION)
    link = Link("settle", dsn, SETTLE_STATEMENTS, facts, settings=settings)
    dispatch = kind(claims, link)
    desk = Desk(dispatch, facts)
    desk.settler = Settler(
        dispatch, facts, worker_id=new_id, on_retry=lambda _: None, on_room=desk.has_room
    )

    def changed(reason: str | None) -> None:
        if reason is None:
            desk.settler.reconnected()

    async with anyio.create_task_group() as tasks:
        await tasks.start(claims.keep)
        await tasks.start(partial(link.keep, on_change=changed))
        tasks.start_soon(desk.settler.run)
        yield desk
        tasks.cancel_scope.cancel()


def _succeeded(lease: Lease, **given: Any) -> Ended:
    ended = Ended(lease=lease, outcome=Outcome.SUCCEEDED, started_at=1e9, finished_at=1e9 + 1)
    return msgspec.structs.replace(ended, **given)


async def _hold(rival: Database, lease: Lease) -> None:
    await rival.execute("BEGIN")
    await rival.execute("SELECT FROM signalstack.jobs WHERE id = %s FOR UPDATE", (lease.job_id,))


async def _finished(shop: Shop) -> dict[str, int]:
    rows = await shop.rows("SELECT status, count(*) AS n FROM signalstack.finished_jobs GROUP BY 1")
    return {row["status"]: row["n"] for row in rows}


async def test_what_goes_back_waits_for_its_queue_without_a_hold_on_others(shop: Shop) -> None:
    other = shop.of(await make_tenant(shop.pool, "other"))
    for each in (shop, other):
        change = QueueChange(concurrency=2)
        await queue_control.limit(shop.pool, each.user_id, "default", change)
    async with _desk(shop.dsn) as desk, connect(shop.dsn) as rival:
        (mine,), (theirs,) = await desk.lease(shop, 1), await desk.lease(other, 1)
        await rival.execute("BEGIN")
        await rival.execute(
            "SELECT FROM signalstack.queues WHERE user_id = %s FOR UPDATE", (shop.user_id,)
        )
        desk.settler.add(_succeeded(theirs))
        desk.settler.add(_succeeded(mine, outcome=Outcome.RETRIED, delay_s=60.0, error="no"))
        # The rival, which holds the queue of the one, may want that of the other: a deadlock.
        await desk.facts.seen(Settled, jobs=theirs.job_id)
        await rival.execute(
            "SELECT FROM signalstack.queues WHERE user_id = %s FOR UPDATE NOWAIT", (other.user_id,)
        )
        await rival.execute("COMMIT")
        await desk.drained()

    assert await _finished(shop) == {"succeeded": 1}
    assert not await shop.rows("SELECT FROM signalstack.queues WHERE running > 0")


async def test_what_ends_together_is_recorded_together(shop: Shop) -> None:
    async with _desk(shop.dsn) as desk:
        for lease in await desk.lease(shop, BATCH + 500):
            desk.settler.add(_succeeded(lease))
        assert desk.settler.backlog == BATCH + 500
        await desk.drained()
        assert [len(fact.jobs) for fact in desk.facts.facts(Settled)] == [BATCH, 500]
    assert await _finished(shop) == {"succeeded": BATCH + 500}


async def test_a_full_batch_goes_along_behind_the_one_in_flight(shop: Shop) -> None:
    async with _desk(shop.dsn, _Counting) as desk, connect(shop.dsn) as rival:
        first, *others = await desk.lease(shop, BATCH + 11)
        await _hold(rival, first)
        desk.settler.add(_succeeded(first))
        await anyio.wait_all_tasks_blocked()
        for lease in others[:10]:
            desk.settler.add(_succeeded(lease))
        await anyio.wait_all_tasks_blocked()
        few = list(vars(desk.dispatch)["sizes"])
        for lease in others[10:]:
            desk.settler.add(_succeeded(lease))
        await anyio.wait_all_tasks_blocked()
        many = list(vars(desk.dispatch)["sizes"])
        await rival.rollback()
        await desk.drained()
    assert (few, many) == ([1], [1, BATCH])
    assert await _finished(shop) == {"succeeded": BATCH + 11}


async def test_what_comes_back_of_the_second_batch_is_settled_though_nothing_more_ends(
    shop: Shop,
) -> None:
    hasty = SESSION | {"lock_timeout": "200ms"}
    async with _desk(shop.dsn, _Gated, settings=hasty) as desk, connect(shop.dsn) as rival:
        first, *others = await desk.lease(shop, BATCH + 1)
        await _hold(rival, others[-1])
        desk.settler.add(_succeeded(first))
        await anyio.wait_all_tasks_blocked()
        for lease in others:
            desk.settler.add(_succeeded(lease))
        await anyio.wait_all_tasks_blocked()
        vars(desk.dispatch)["gate"].set()
        # One by one, and the last one was refused.
        await desk.facts.seen(
            Queried, query="dispatch/finish_one", count=BATCH + 1, timeout_s=PATIENCE_S
        )
        await rival.rollback()
        await desk.drained()
    assert await _finished(shop) == {"succeeded": BATCH + 1}


async def test_a_row_that_somebody_holds_keeps_no_other_outcome_from_being_recorded(
    shop: Shop,
) -> None:
    hasty = SESSION | {"lock_timeout": "200ms"}
    async with _desk(shop.dsn, settings=hasty) as desk, connect(shop.dsn) as rival:
        first, second, *others = await desk.lease(shop, 20)
        await _hold(rival, first)
        await rival.execute(
            "SELECT FROM signalstack.jobs WHERE id = %s FOR UPDATE", (second.job_id,)
        )
        for lease in (first, second, *others):
            desk.settler.add(_succeeded(lease))
        for lease in others:
            await desk.facts.seen(Settled, jobs=lease.job_id, timeout_s=PATIENCE_S)
        await rival.rollback()
        await desk.drained()
    assert await _finished(shop) == {"succeeded": 20}


async def test_a_run_that_goes_back_though_its_job_is_cancelled_holds_no_other_up(
    shop: Shop,
) -> None:
    async with _desk(shop.dsn, _Counting) as desk:
        cancelled, other = await desk.lease(shop, 2)
        await shop.rows(
            "UPDATE signalstack.jobs SET cancel_requested = true WHERE id = %s", cancelled.job_id
        )
        desk.settler.add(_succeeded(cancelled, outcome=Outcome.RETRIED))
        await desk.facts.seen(Queried, query="dispatch/requeue")
        desk.settler.add(_succeeded(other))
        await desk.drained()
        sizes = vars(desk.dispatch)["sizes"]
    assert sizes == [1, 1, 1]  # two together, had the one waited for its next try
    assert await _finished(shop) == {"succeeded": 1, "cancelled": 1}


async def test_who_became_full_while_a_batch_was_on_its_way_tells_that_there_is_room(
    shop: Shop,
) -> None:
    large = b'"' + b"x" * (BACKLOG_BYTES // 5) + b'"'
    async with _desk(shop.dsn) as desk, connect(shop.dsn) as rival:
        first, *others = await desk.lease(shop, 5)
        await _hold(rival, first)
        desk.settler.add(_succeeded(first, result=large))
        await anyio.wait_all_tasks_blocked()
        for lease in others:
            desk.settler.add(_succeeded(lease, result=large))
        assert desk.settler.full
        await rival.rollback()
        await desk.drained()
        assert desk.rooms
    assert await _finished(shop) == {"succeeded": 5}


async def test_large_outcomes_leave_in_small_batches_and_stop_the_claiming(shop: Shop) -> None:
    large = b'"' + b"x" * 500_000 + b'"'
    async with _desk(shop.dsn) as desk:
        for lease in await desk.lease(shop, 140):  # 70 MB
            desk.settler.add(_succeeded(lease, result=large))
        assert desk.settler.full
        await desk.drained()
        assert not desk.settler.full
        batches = [len(fact.jobs) for fact in desk.facts.facts(Settled)]
    assert sum(batches) == 140
    assert max(batches) <= 16 * 1024**2 // len(large)


async def test_what_is_counted_is_what_is_recorded_whatever_was_said(shop: Shop) -> None:
    async with _desk(shop.dsn) as desk:
        leases = await desk.lease(shop, 9)
        for wanted in leases[:2]:
            await shop.rows(
                "UPDATE signalstack.jobs SET cancel_requested = true WHERE id = %s", wanted.job_id
            )
        said = [
            _succeeded(leases[0], outcome=Outcome.RETRIED),
            _succeeded(leases[1], outcome=Outcome.RELEASED),
            # As of a job that is cancelled while it waits for a slot.
            _succeeded(leases[2], outcome=Outcome.CANCELLED, started_at=None),
            _succeeded(msgspec.structs.replace(leases[3], token=leases[3].token ^ 1)),
            _succeeded(leases[4], result=b"{"),
            _succeeded(leases[5], outcome=Outcome.RETRIED),
            _succeeded(leases[6], outcome=Outcome.RELEASED, started_at=None),
            *map(_succeeded, leases[7:]),
        ]
        for ended in said:
            desk.settler.add(ended)
        await desk.drained()
    recorded = await _finished(shop)
    assert recorded == {"succeeded": 2, "failed": 1, "cancelled": 3}
    assert counting.ended(desk.facts) == {**recorded, "retried": 1}


async def test_outcomes_wait_while_postgresql_is_away(shop: Shop) -> None:
    async with _desk(shop.dsn) as desk:
        leases = await desk.lease(shop, 50)
        for lease in leases:
            desk.settler.add(_succeeded(lease))
        await shop.kill("settle")
        await desk.drained()
    assert await _finished(shop) == {"succeeded": 50}


async def test_full_batches_do_not_drive_each_other_on_while_postgresql_is_away(
    shop: Shop, postgres: str
) -> None:
    name = conninfo_to_dict(shop.dsn)["dbname"]
    async with (
        _desk(shop.dsn, _Counting) as desk,
        await psycopg.AsyncConnection.connect(postgres, autocommit=True) as admin,
    ):
        leases = await desk.lease(shop, 2 * BATCH + 1)
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        await shop.kill("settle")
        for lease in leases:
            desk.settler.add(_succeeded(lease))
        await anyio.sleep(1.2)
        tries = len(vars(desk.dispatch)["sizes"])
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
        await desk.drained()
    assert tries <= 8  # two of them, each every half second
    assert await _finished(shop) == {"succeeded": 2 * BATCH + 1}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("no space left", "disk_full"),
        ("too many notifications in the NOTIFY queue", "program_limit_exceeded"),
    ],
)
async def test_outcomes_outlast_what_is_full(shop: Shop, error: str, code: str) -> None:
    """Refused, and not for any fault of theirs: what succeeded must not be told as failed."""
    async with _desk(shop.dsn) as desk:
        leases = await desk.lease(shop, 3)
        await shop.rows(
            "CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE '{error}' USING ERRCODE = '{code}'; END $$"
        )
        await shop.rows(
            "CREATE TRIGGER is_full BEFORE INSERT ON signalstack.finished_jobs"
            " EXECUTE FUNCTION is_full()"
        )
        for lease in leases:
            desk.settler.add(_succeeded(lease, result=b"1"))
        await desk.facts.seen(Queried, query="dispatch/finish_at")
        assert not desk.facts.facts(Settled)
        await shop.rows("DROP TRIGGER is_full ON signalstack.finished_jobs")
        await desk.drained()
    assert await _finished(shop) == {"succeeded": 3}


async def test_a_row_that_postgresql_cannot_keep_hurts_only_itself(shop: Shop) -> None:
    async with _desk(shop.dsn) as desk:
        leases = await desk.lease(shop, 40)
        for number, lease in enumerate(leases):
            desk.settler.add(_succeeded(lease, result=b"{" if number == 7 else b"1"))
        await desk.drained()
    assert await _finished(shop) == {"succeeded": 39, "failed": 1}
    ran = await shop.ran(leases[7].job_id)
    assert (ran.last_error or "").startswith("PostgreSQL cannot store the result: invalid input")


async def test_what_was_said_twice_counts_once(shop: Shop) -> None:
    """As when the answer to the first settlement got lost: the second one finds it done."""
    async with _desk(shop.dsn) as desk:
        (lease,) = await desk.lease(shop, 1)
        desk.settler.add(_succeeded(lease))
        await desk.facts.seen(Settled, jobs=lease.job_id)
        desk.settler.add(_succeeded(lease, outcome=Outcome.FAILED, error="late"))
        await desk.facts.seen(Settled, jobs=(), stale=1)
    assert await _finished(shop) == {"succeeded": 1}


async def test_what_was_recorded_before_its_answer_got_lost_is_not_told_as_stale(
    shop: Shop,
) -> None:
    async with _desk(shop.dsn, _HardOfHearing) as desk:
        first, other = await desk.lease(shop, 2)
        desk.settler.add(_succeeded(first))
        await desk.facts.seen(Settled, stale=0)
        # The one that comes twice after that is news: it had been heard of.
        desk.settler.add(_succeeded(first))
        await desk.facts.seen(Settled, stale=1)
        desk.settler.add(_succeeded(other))
        await desk.facts.seen(Settled, jobs=other.job_id, stale=0)
    assert await _finished(shop) == {"succeeded": 2}


async def test_what_was_recorded_together_before_its_answer_got_lost_is_no_news_either(
    shop: Shop,
) -> None:
    async with _desk(shop.dsn, _HardOfHearing) as desk:
        for lease in await desk.lease(shop, 5):
            desk.settler.add(_succeeded(lease))
        await desk.drained()
        assert sum(fact.stale for fact in desk.facts.facts(Settled)) == 0
    assert await _finished(shop) == counting.ended(desk.facts) == {"succeeded": 5}


async def test_an_outcome_is_recorded_at_once_wherever_its_row_moved(shop: Shop) -> None:
    async with _desk(shop.dsn) as desk:
        leases = await desk.lease(shop, 9)
        await shop.rows("UPDATE signalstack.jobs SET watch = 1 WHERE id = %s", leases[4].job_id)
        stranger = msgspec.structs.replace(leases[8], token=leases[8].token ^ 1)
        for lease in (*leases[:8], stranger):
            desk.settler.add(_succeeded(lease))
        await desk.drained()
        told = [(len(fact.jobs), fact.stale) for fact in desk.facts.facts(Settled)]
    assert told == [(7, 0), (1, 1)]
    assert await _finished(shop) == {"succeeded": 8}


async def test_an_outcome_with_another_token_is_dropped(shop: Shop) -> None:
    async with _desk(shop.dsn) as desk:
        (lease,) = await desk.lease(shop, 1)
        stranger = msgspec.structs.replace(lease, token=lease.token ^ 1)
        for outcome in (Outcome.SUCCEEDED, Outcome.RETRIED, Outcome.RELEASED):
            desk.settler.add(_succeeded(stranger, outcome=outcome))
        await desk.drained()
        assert sum(fact.stale for fact in desk.facts.facts(Settled)) == 3
        desk.settler.add(_succeeded(lease))
        await desk.drained()
    assert await _finished(shop) == {"succeeded": 1}


async def test_a_lease_that_was_never_used_leaves_no_trace(shop: Shop) -> None:
    async with _desk(shop.dsn) as desk:
        (lease,) = await desk.lease(shop, 1)
        desk.settler.add(_succeeded(lease, outcome=Outcome.RELEASED, started_at=None))
        await desk.drained()
    assert await shop.past(lease.job_id) == []
    (row,) = await shop.rows("SELECT attempt, lease_token, delayed FROM signalstack.jobs")
    assert row == {"attempt": 0, "lease_token": None, "delayed": False}
