"""The maintenance leader: one leads, the next follows, and the house is kept meanwhile."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from recording import RecordingObserver
from rows import add_jobs, add_user, add_worker, connect, lock_job, rows, value
from signalstack.core.ids import new_id
from signalstack.core.job import Outcome
from signalstack.core.stage import ChoreEnded, Closed, LeaderChanged, Queried, Rescued
from signalstack.maintenance import chore, leader, rescue, rota
from signalstack.maintenance.leader import Maintenance
from signalstack.store.pool import Pool
from working import open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from uuid import UUID

    from rows import Database


_LEASED: Final = "SELECT count(*) FROM signalstack.jobs WHERE lease_token IS NOT NULL"


@pytest.fixture
async def conn(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        yield conn


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "LEASE_S", 0.6)
    monkeypatch.setattr(leader, "RENEW_S", 0.1)


@asynccontextmanager
async def _maintaining(dsn: str, **settings: Any) -> AsyncGenerator[RecordingObserver]:
    """Run a process's maintenance, and give what it tells."""
    observer = RecordingObserver()
    async with (
        Pool(dsn, observer, max_size=4, **settings) as pool,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(Maintenance(pool, observer).run)
        yield observer
        tasks.cancel_scope.cancel()


async def _holder(conn: Database) -> tuple[UUID, int]:
    ((holder, term),) = await rows(conn, "SELECT holder, term FROM signalstack.leaders")
    return holder, term


async def test_one_of_two_leads_and_the_other_follows_when_it_resigns(
    database_url: str, conn: Database
) -> None:
    async with _maintaining(database_url) as second:
        async with _maintaining(database_url) as first:
            # Which of the two was faster does not matter: take them as they come.
            await first.seen(Queried, query="maintenance/lead", count=3)
            await second.seen(Queried, query="maintenance/lead", count=3)
            leading = [
                observer
                for observer in (first, second)
                if observer.facts(LeaderChanged, leading=True)
            ]
            assert len(leading) == 1
        await second.seen(LeaderChanged, leading=True)

    assert (await _holder(conn))[1] <= 2


async def test_a_resignation_is_heard_long_before_the_lease_would_have_ended(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "LEASE_S", 300.0)
    second = RecordingObserver()
    async with (
        open_shop(database_url) as shop,
        shop.worker({}) as crew,
        Pool(database_url, second) as pool,
        anyio.create_task_group() as tasks,
    ):
        async with _maintaining(database_url) as first:
            await first.seen(LeaderChanged, leading=True)
            follower = Maintenance(pool, second)
            crew.worker.on_vacant = follower.stand
            tasks.start_soon(follower.run)
            await second.seen(Queried, query="maintenance/lead")
        await second.seen(LeaderChanged, leading=True)
        tasks.cancel_scope.cancel()


async def test_leader_that_fell_silent_is_followed_when_its_lease_ends(
    database_url: str, conn: Database
) -> None:
    silent = new_id()
    await conn.execute(
        "INSERT INTO signalstack.leaders "
        "VALUES ('maintenance', %s, 7, clock_timestamp() + interval '300 ms')",
        (silent,),
    )

    async with _maintaining(database_url) as observer:
        await observer.seen(LeaderChanged, leading=True)
        holder, term = await _holder(conn)

    assert holder != silent
    assert term == 8


async def test_leader_whose_lease_was_taken_stops_leading(
    database_url: str, conn: Database
) -> None:
    async with _maintaining(database_url) as observer:
        await observer.seen(LeaderChanged, leading=True)
        usurper = new_id()
        await conn.execute(
            "UPDATE signalstack.leaders "
            "SET holder = %s, term = term + 1, lease_until = now() + interval '1 hour'",
            (usurper,),
        )
        await observer.seen(LeaderChanged, leading=False, count=2)

    # Resigning must not take the lease from whoever has it now.
    assert (await _holder(conn))[0] == usurper
    assert await value(conn, "SELECT lease_until > now() FROM signalstack.leaders")


async def test_term_begins_with_every_chore(database_url: str, conn: Database) -> None:
    user_id = await add_user(conn)
    await conn.execute(
        "INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_created) "
        "VALUES (%s, date_trunc('hour', now()), 3)",
        (user_id,),
    )

    async with _maintaining(database_url) as observer:
        for name in ("partitions", "roll_up", "forget_keys", "orphans"):
            await observer.seen(ChoreEnded, chore=name, outcome="done")

    today = await value(
        conn,
        "SELECT to_regclass('signalstack.events_' || "
        "to_char((now() + interval '3 days') AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NOT NULL",
    )
    assert today
    assert await value(conn, "SELECT jobs_created FROM signalstack.metrics_hourly") == 3


async def test_chore_that_reached_its_limit_goes_on_at_once(
    database_url: str, conn: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rota, "BATCH", 2)
    user_id = await add_user(conn)
    await conn.execute(
        "INSERT INTO signalstack.idempotency "
        "SELECT %s, 'jobs', n::text, '', %s, now() - interval '1 day' "
        "FROM generate_series(1, 7) AS n",
        (user_id, user_id),
    )

    async with _maintaining(database_url) as observer:
        await observer.seen(Queried, query="maintenance/expire_idempotency", count=4)
        assert await value(conn, "SELECT count(*) FROM signalstack.idempotency") == 0


async def test_jobs_are_rescued_when_a_lease_ends_without_anybody_polling(
    database_url: str, conn: Database
) -> None:
    await conn.execute("SELECT pg_sleep_until(pg_postmaster_start_time() + interval '3.1 seconds')")
    user_id = await add_user(conn)
    await add_jobs(conn, user_id)

    async with _maintaining(database_url) as observer:
        await observer.seen(LeaderChanged, leading=True)
        await observer.seen(Queried, query="maintenance/rescue")
        worker = await add_worker(conn, lease_s=0.3)
        await conn.execute(
            "UPDATE signalstack.jobs SET attempt = 1, lease_token = 1, worker_id = %s, "
            "started_at = now()",
            (worker,),
        )
        rescued = await observer.seen(Rescued)

    assert rescued.count == 1
    assert await value(conn, "SELECT lease_token IS NULL FROM signalstack.jobs")


async def test_rescue_that_failed_half_way_is_taken_up_again(
    database_url: str, conn: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescue, "BATCH", 2)
    monkeypatch.setattr(rescue, "RETRY_S", 0.05)
    await conn.execute("SELECT pg_sleep_until(pg_postmaster_start_time() + interval '3.1 seconds')")
    ids = sorted(await add_jobs(conn, await add_user(conn), 5, max_attempts=1))
    await conn.execute(
        "UPDATE signalstack.jobs SET attempt = 1, lease_token = 1, worker_id = %s, "
        "started_at = now()",
        (await add_worker(conn, lease_s=-1),),
    )
    observer = RecordingObserver()

    async with (
        Pool(database_url, observer, statement_timeout_s=0.3) as pool,
        connect(database_url) as rival,
        anyio.create_task_group() as tasks,
    ):
        await rival.execute("BEGIN")
        await lock_job(rival, ids[2])
        # Not the leader, whose looking for orphans would do the rest.
        rescuer = rescue.Rescuer(pool, observer)
        tasks.start_soon(rescuer.run)
        rescuer.expect(0.0)
        await observer.seen(Rescued, count=1)
        await observer.seen(ChoreEnded, chore="rescue", outcome="failed", count=2)
        await rival.execute("COMMIT")
        await observer.seen(Rescued, count=3)
        tasks.cancel_scope.cancel()

    assert [fact.count for fact in observer.facts(Rescued)] == [2, 2, 1]
    assert sum(fact.count for fact in observer.facts(Closed, outcome=Outcome.FAILED)) == 5
    assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 0


async def test_two_leaders_at_once_take_each_lost_run_back_once(
    database_url: str, conn: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescue, "BATCH", 20)
    monkeypatch.setattr(rescue, "RETRY_S", 0.01)
    await conn.execute("SELECT pg_sleep_until(pg_postmaster_start_time() + interval '3.1 seconds')")
    user_id = await add_user(conn)
    await add_jobs(conn, user_id, 200)
    await add_jobs(conn, user_id, 100, max_attempts=1)
    dead = [await add_worker(conn, lease_s=-1) for _ in range(3)]
    await conn.execute(
        "UPDATE signalstack.jobs SET attempt = 1, lease_token = 1, started_at = now(), "
        "worker_id = (%s::uuid[])[1 + abs(hashtext(id::text)) %% 3]",
        (dead,),
    )

    observers = (RecordingObserver(), RecordingObserver())
    async with (
        Pool(database_url, observers[0], max_size=8) as pool,
        anyio.create_task_group() as tasks,
    ):
        for observer in observers:
            leading = rescue.Rescuer(pool, observer)
            tasks.start_soon(leading.run)
            tasks.start_soon(leading.look_for_orphans)
            leading.expect(0.0)
        with anyio.fail_after(20):
            while await value(conn, _LEASED) or _rescued(observers) < 300:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    assert _rescued(observers) == 300
    closed = [fact for observer in observers for fact in observer.facts(Closed)]
    assert sum(fact.count for fact in closed) == 100
    lost = "SELECT count(*), count(DISTINCT job_id) FROM signalstack.attempts"
    assert await rows(conn, lost) == [(200, 200)]
    ended = "SELECT count(*), count(DISTINCT id) FROM signalstack.finished_jobs"
    assert await rows(conn, ended) == [(100, 100)]
    assert await value(conn, "SELECT sum(jobs_failed) FROM signalstack.metrics_delta") == 100
    assert await value(conn, "SELECT count(*) FROM signalstack.workers") == 0


def _rescued(observers: Iterable[RecordingObserver]) -> int:
    return sum(fact.count for observer in observers for fact in observer.facts(Rescued))


async def test_leader_outlives_a_lost_database(database_url: str, conn: Database) -> None:
    async with _maintaining(database_url) as observer:
        await observer.seen(LeaderChanged, leading=True)
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        so_far = len(observer.facts(Queried, query="maintenance/lead"))
        await observer.seen(Queried, query="maintenance/lead", count=so_far + 4, timeout_s=10)

    assert (await _holder(conn))[1] <= 2


async def test_chore_that_was_contended_is_done_again_soon(
    database_url: str, conn: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chore, "RETRY_S", 0.05)
    child = await value(
        conn, "SELECT 'signalstack.attempts_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')"
    )
    await conn.execute(f"DROP TABLE IF EXISTS {child}".encode())

    async with connect(database_url) as rival:
        await rival.execute("BEGIN")
        await rival.execute("SELECT FROM signalstack.attempts")
        async with _maintaining(database_url) as observer:
            await observer.seen(ChoreEnded, chore="partitions", outcome="failed", count=2)
            await rival.execute("COMMIT")
            await observer.seen(ChoreEnded, chore="partitions", outcome="done")

    assert await value(conn, "SELECT to_regclass(%s) IS NOT NULL", child)


def test_chore_that_goes_on_failing_is_tried_ever_more_seldom_up_to_its_interval() -> None:
    pauses = [chore.pause_s(60, failures=failures) for failures in range(7)]

    assert pauses == [60, 5, 10, 20, 40, 60, 60]
    assert chore.pause_s(3_600, failures=10_000) == 600


async def test_loops_run_while_leading_and_only_then(database_url: str, conn: Database) -> None:
    began, ended = anyio.Event(), anyio.Event()

    async def loop() -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    observer = RecordingObserver()
    async with Pool(database_url, observer) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(Maintenance(pool, observer, loops=[loop]).run)
        with anyio.fail_after(5):
            await began.wait()
            await conn.execute(
                "UPDATE signalstack.leaders SET holder = %s, lease_until = now() + '1 hour'",
                (new_id(),),
            )
            await ended.wait()
        tasks.cancel_scope.cancel()

    assert observer.facts(LeaderChanged, leading=True)


async def test_chore_that_fails_is_told_and_ends_nothing_else(
    database_url: str, conn: Database
) -> None:
    await conn.execute("ALTER TABLE signalstack.metrics_delta RENAME TO elsewhere")

    async with _maintaining(database_url) as observer:
        await observer.seen(ChoreEnded, chore="roll_up", outcome="failed")
        await observer.seen(Queried, query="maintenance/lead", count=4)
        await observer.seen(ChoreEnded, chore="forget_keys", outcome="done")
