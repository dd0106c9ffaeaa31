"""Keeping house: dead workers' jobs come back, counts stay true, keys are forgotten."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

import anyio
import pytest

from recording import RecordingObserver
from rows import (
    add_jobs,
    add_user,
    add_worker,
    connect,
    end_lease,
    lock_job,
    new_write,
    open_dispatch,
    open_link,
    rows,
    until_someone_waits,
    value,
)
from signalstack.core.ids import new_id
from signalstack.core.job import Outcome, Wake
from signalstack.core.stage import Closed
from signalstack.maintenance.partitions import make_missing
from signalstack.store import chores
from signalstack.store.chores import Rescue
from signalstack.store.claims import NIL, Lease
from signalstack.store.intake import SESSION, STATEMENTS, Intake
from signalstack.store.outcomes import Ended
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from rows import Database
    from signalstack.store.dispatch import Dispatch
    from signalstack.store.pool import Pool

NOTHING = Rescue(workers=0, rescued=0, failed=0, bells=0)


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@pytest.fixture
async def conn(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        yield conn


@pytest.fixture
async def dispatch(database_url: str) -> AsyncGenerator[Dispatch]:
    async with open_dispatch(database_url, RecordingObserver()) as dispatch:
        yield dispatch


@pytest.fixture
async def tenant(conn: Database) -> UUID:
    return await add_user(conn)


@pytest.fixture
async def grown_up(conn: Database) -> None:
    """Wait out the grace that a fresh server's workers have; a session's server is older mostly."""
    await conn.execute("SELECT pg_sleep_until(pg_postmaster_start_time() + interval '3.1 seconds')")


async def _claim(dispatch: Dispatch, worker: UUID, *, token: int = 1) -> list[Lease]:
    claim = await dispatch.claim(
        ["default"],
        worker_id=worker,
        token=token,
        limit=100,
        lanes=100,
        cursor=NIL,
        cause=Wake.POLL,
    )
    return claim.leases


async def _rescue(pool: Pool, *, orphans: bool = False) -> Rescue:
    async with pool.connection() as conn:
        return await chores.rescue(conn, orphans=orphans)


def _succeeded(lease: Lease) -> Ended:
    return Ended(lease=lease, outcome=Outcome.SUCCEEDED, started_at=time() - 1, finished_at=time())


@pytest.mark.usefixtures("grown_up")
async def test_dead_workers_jobs_come_back_and_its_zombie_is_fenced_off(
    pool: Pool, conn: Database, dispatch: Dispatch, tenant: UUID
) -> None:
    await add_jobs(conn, tenant, 2)
    dead, living = await add_worker(conn), await add_worker(conn)
    zombie = await _claim(dispatch, dead)
    await end_lease(conn, dead)

    done = await _rescue(pool)
    late = await dispatch.settle([_succeeded(lease) for lease in zombie], worker_id=dead)
    more = await _claim(dispatch, dead)
    again = await _claim(dispatch, living, token=2)

    assert (done.workers, done.rescued, done.failed) == (1, 2, 0)
    assert (late.settled, more) == (set(), [])
    assert [(lease.attempt, lease.wake) for lease in again] == [(2, Wake.RESCUE)] * 2
    attempts = await rows(
        conn, "SELECT attempt, outcome, worker_id, wake, error FROM signalstack.attempts"
    )
    assert [row[:4] for row in attempts] == [(1, "lost", dead, "poll")] * 2
    assert "died" in attempts[0][4]
    assert await value(conn, "SELECT array_agg(id) FROM signalstack.workers") == [living]
    assert await value(conn, "SELECT count(*) FROM signalstack.finished_jobs") == 0


@pytest.mark.usefixtures("grown_up")
async def test_rescue_locks_rows_in_their_order(
    database_url: str, pool: Pool, conn: Database, dispatch: Dispatch, tenant: UUID
) -> None:
    dead = await add_worker(conn)
    # Stored backwards, so that the order of the table is not theirs.
    ids = sorted(new_id() for _ in range(2))
    await add_jobs(conn, tenant, ids=ids[::-1])
    await _claim(dispatch, dead)
    await end_lease(conn, dead)

    async with connect(database_url) as rival, rival.transaction():
        await lock_job(rival, ids[0])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_rescue, pool)
            await until_someone_waits(conn)
            await lock_job(conn, ids[1])
            await rival.execute("ROLLBACK")


@pytest.mark.usefixtures("grown_up")
async def test_rescue_rings_once_a_queue(
    database_url: str, pool: Pool, conn: Database, dispatch: Dispatch, tenant: UUID
) -> None:
    await add_jobs(conn, tenant, 3)
    dead = await add_worker(conn)
    await _claim(dispatch, dead)
    await end_lease(conn, dead)

    async with connect(database_url) as listener:
        await listener.execute("LISTEN signalstack_again")
        done = await _rescue(pool)
        rung = [bell.payload async for bell in listener.notifies(timeout=5, stop_after=1)]

    assert (done.bells, rung) == (1, ["default"])


@pytest.mark.usefixtures("grown_up")
async def test_lost_last_attempt_fails_the_job(
    pool: Pool, conn: Database, dispatch: Dispatch, tenant: UUID
) -> None:
    (id_,) = await add_jobs(conn, tenant, max_attempts=1)
    dead = await add_worker(conn)
    await _claim(dispatch, dead)
    await end_lease(conn, dead)

    done = await _rescue(pool)

    assert (done.rescued, done.failed, done.bells) == (0, 1, 0)
    assert done.closed == (Closed(queue="default", type="noop", outcome=Outcome.FAILED, count=1),)
    kept = await rows(
        conn,
        "SELECT id, status, attempt, worker_id, last_error LIKE '%%died%%', "
        "started_at IS NOT NULL FROM signalstack.finished_jobs WHERE %s",
        True,  # noqa: FBT003 - a parameter makes the per cent signs literal
    )
    assert kept == [(id_, "failed", 1, dead, True, True)]
    assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 0
    assert await value(conn, "SELECT sum(jobs_failed) FROM signalstack.metrics_delta") == 1


@pytest.mark.usefixtures("grown_up")
async def test_jobs_of_the_living_are_left_alone(
    pool: Pool, conn: Database, dispatch: Dispatch, tenant: UUID
) -> None:
    await add_jobs(conn, tenant)
    living = await add_worker(conn)
    (lease,) = await _claim(dispatch, living)
    await add_worker(conn, lease_s=-1)

    done = await _rescue(pool, orphans=True)

    assert (done.workers, done.rescued) == (1, 0)
    settlement = await dispatch.settle([_succeeded(lease)], worker_id=living)
    assert settlement.settled == {lease.id}


@pytest.mark.usefixtures("grown_up")
async def test_rescue_in_pieces_leaves_the_dead_no_way_back(
    pool: Pool, conn: Database, dispatch: Dispatch, tenant: UUID
) -> None:
    await add_jobs(conn, tenant, 5)
    dead = await add_worker(conn)
    await _claim(dispatch, dead)
    await end_lease(conn, dead)

    async with pool.connection() as mine:
        first = await chores.rescue(mine, orphans=False, limit=2)
        more = await _claim(dispatch, dead, token=2)
        rest = [await chores.rescue(mine, orphans=True, limit=2) for _ in range(3)]

    assert (first.workers, first.rescued, more) == (1, 2, [])
    assert [done.rescued for done in rest] == [2, 1, 0]
    lost = "SELECT count(*), count(DISTINCT job_id) FROM signalstack.attempts"
    assert await rows(conn, lost) == [(5, 5)]


async def test_leases_of_unknown_workers_come_back_only_when_looked_for(
    pool: Pool, conn: Database, dispatch: Dispatch, tenant: UUID
) -> None:
    await add_jobs(conn, tenant)
    gone = await add_worker(conn)
    await _claim(dispatch, gone)
    await conn.execute("DELETE FROM signalstack.workers")

    assert await _rescue(pool) == NOTHING
    assert (await _rescue(pool, orphans=True)).rescued == 1


@pytest.mark.usefixtures("grown_up")
async def test_worker_that_renews_just_now_is_not_given_up(
    database_url: str, pool: Pool, conn: Database
) -> None:
    worker = await add_worker(conn, lease_s=-1)

    async with connect(database_url) as heartbeat:
        await heartbeat.execute("BEGIN")
        await heartbeat.execute(
            "UPDATE signalstack.workers SET lease_until = now() + interval '1 minute'"
        )
        while_renewing = await _rescue(pool)
        await heartbeat.execute("COMMIT")

    assert while_renewing == await _rescue(pool) == NOTHING
    assert await value(conn, "SELECT array_agg(id) FROM signalstack.workers") == [worker]


async def _totals(conn: Database) -> tuple[int, ...]:
    (row,) = await rows(
        conn,
        "SELECT sum(events_received)::bigint, sum(jobs_created)::bigint, "
        "sum(jobs_succeeded)::bigint, sum(jobs_failed)::bigint, sum(jobs_cancelled)::bigint "
        "FROM (SELECT events_received, jobs_created, jobs_succeeded, jobs_failed, jobs_cancelled "
        "FROM signalstack.metrics_hourly UNION ALL SELECT events_received, jobs_created, "
        "jobs_succeeded, jobs_failed, jobs_cancelled FROM signalstack.metrics_delta) AS counted",
    )
    return tuple(row)


async def _recount(conn: Database) -> tuple[int, ...]:
    (row,) = await rows(
        conn,
        "SELECT (SELECT count(*) FROM signalstack.events), "
        "(SELECT count(*) FROM signalstack.jobs) + count(f.id), "
        "count(*) FILTER (WHERE f.status = 'succeeded'), "
        "count(*) FILTER (WHERE f.status = 'failed'), "
        "count(*) FILTER (WHERE f.status = 'cancelled') FROM signalstack.finished_jobs AS f",
    )
    return tuple(row)


async def test_counts_agree_with_a_recount_while_two_roll_up(
    database_url: str, pool: Pool, conn: Database, dispatch: Dispatch, tenant: UUID
) -> None:
    observer = RecordingObserver()
    stranger, worker = await add_user(conn, "stranger"), await add_worker(conn)

    async def roll_up() -> None:
        async with pool.connection() as mine:
            await chores.roll_up(mine, limit=3)

    async with open_link(database_url, observer, STATEMENTS, settings=SESSION) as link:
        intake = Intake(link, observer)
        for turn in range(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(intake.submit, new_write(tenant))
                tasks.start_soon(intake.submit, new_write(stranger))
                tasks.start_soon(roll_up)
                tasks.start_soon(roll_up)
            leases = await _claim(dispatch, worker, token=turn + 1)
            await dispatch.settle([_succeeded(lease) for lease in leases], worker_id=worker)
            assert await _totals(conn) == await _recount(conn)

    async with pool.connection() as mine:
        while await chores.roll_up(mine, limit=100):
            pass
    assert await _totals(conn) == await _recount(conn) == (0, 20, 20, 0, 0)
    assert await value(conn, "SELECT count(*) FROM signalstack.metrics_delta") == 0


async def test_second_roller_skips_what_the_first_has_locked(
    database_url: str, pool: Pool, conn: Database, tenant: UUID
) -> None:
    await conn.execute(
        "INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_created) "
        "SELECT %s, '2026-01-01 00:00Z', 1 FROM generate_series(1, 5)",
        (tenant,),
    )

    async with connect(database_url) as first, pool.connection() as second:
        await first.execute("BEGIN")
        await first.execute("SELECT FROM signalstack.metrics_delta LIMIT 2 FOR UPDATE")
        rolled = await chores.roll_up(second, limit=100)
        await first.execute("ROLLBACK")
        rest = await chores.roll_up(second, limit=100)

    assert (rolled, rest) == (3, 2)
    assert await value(conn, "SELECT jobs_created FROM signalstack.metrics_hourly") == 5


async def test_only_keys_whose_time_is_over_are_forgotten_and_never_beyond_the_limit(
    pool: Pool, conn: Database, tenant: UUID
) -> None:
    await conn.execute(
        "INSERT INTO signalstack.idempotency "
        "SELECT %s, 'jobs', n::text, '', %s, now() + n * interval '1 hour' "
        "FROM generate_series(-6, 3) AS n",
        (tenant, new_id()),
    )

    async with pool.connection() as mine:
        forgotten = [await chores.expire_idempotency(mine, limit=4) for _ in range(3)]

    assert forgotten == [4, 3, 0]
    keys = await rows(conn, "SELECT key FROM signalstack.idempotency ORDER BY key")
    assert [key for (key,) in keys] == ["1", "2", "3"]


async def test_partitions_are_made_once_and_take_the_rows_of_their_day(
    database_url: str, pool: Pool, conn: Database, tenant: UUID
) -> None:
    await make_missing(pool, days=5)
    await make_missing(pool, days=5)
    observer = RecordingObserver()
    async with open_dispatch(database_url, observer) as dispatch:
        worker = await add_worker(conn)
        await add_jobs(conn, tenant)
        (lease,) = await _claim(dispatch, worker)
        await dispatch.settle([_succeeded(lease)], worker_id=worker)

    query = "SELECT count(*) FROM pg_inherits WHERE inhparent = %s::regclass"
    for parent in ("events", "finished_jobs", "attempts"):
        assert await value(conn, query, f"signalstack.{parent}") == 7
    assert await value(conn, "SELECT count(*) FROM signalstack.finished_jobs_default") == 0


async def test_a_table_that_is_held_keeps_no_partition_of_others_from_being_made(
    database_url: str, pool: Pool, conn: Database
) -> None:
    async with connect(database_url) as holder:
        await holder.execute("BEGIN")
        await holder.execute("LOCK TABLE ONLY signalstack.events IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(Exception, match="too long"):
            await make_missing(pool, days=5)
        await holder.execute("ROLLBACK")

    query = "SELECT count(*) FROM pg_inherits WHERE inhparent = %s::regclass"
    for parent, count in {"events": 5, "finished_jobs": 7, "attempts": 7}.items():
        assert await value(conn, query, f"signalstack.{parent}") == count


async def test_partition_of_a_day_that_the_default_holds_is_left_out(
    pool: Pool, conn: Database, tenant: UUID
) -> None:
    await conn.execute(
        "INSERT INTO signalstack.events (user_id, id, type, payload, job_ids) "
        "VALUES (%s, signalstack.uuid_floor(now() + interval '9 days'), 'x', 'null', '{}')",
        (tenant,),
    )

    await make_missing(pool, days=10)

    query = "SELECT count(*) FROM pg_inherits WHERE inhparent = %s::regclass"
    assert await value(conn, query, "signalstack.events") == 11
    assert await value(conn, query, "signalstack.attempts") == 12
    assert await value(conn, "SELECT count(*) FROM signalstack.events") == 1
