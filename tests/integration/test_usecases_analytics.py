"""Analytics equal a recount of the tables at any time, however far the roller lags."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

import anyio
import pytest

from contexts import Witness
from rows import (
    Database,
    add_worker,
    connect,
    end_lease,
    new_event,
    new_job,
    new_write,
    open_dispatch,
    open_link,
    rows,
    value,
)
from signalstack.core.errors import ConflictError, InvalidError
from signalstack.core.job import Outcome, Wake
from signalstack.core.period import Bucket
from signalstack.store import chores
from signalstack.store.claims import NIL
from signalstack.store.intake import SESSION, STATEMENTS, Intake
from signalstack.store.outcomes import Ended
from signalstack.usecases import analytics, control
from tenants import make_tenant, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from signalstack.core.tally import Summary, Tally
    from signalstack.store.dispatch import Dispatch
    from signalstack.store.pool import Pool

STEPS: Final = 80
DAYS: Final = 3
OUTCOMES: Final = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.RETRIED)
RECOUNT: Final = """
    SELECT hour, sum(e)::int, sum(c)::int, sum(s)::int, sum(f)::int, sum(x)::int
    FROM (
        SELECT date_trunc('hour', created_at, 'UTC'), 1, 0, 0, 0, 0
        FROM signalstack.events WHERE user_id = %(user)s
        UNION ALL
        SELECT date_trunc('hour', created_at, 'UTC'), 0, 1, 0, 0, 0
        FROM signalstack.jobs WHERE user_id = %(user)s
        UNION ALL
        SELECT date_trunc('hour', created_at, 'UTC'), 0, 1, 0, 0, 0
        FROM signalstack.finished_jobs WHERE user_id = %(user)s
        UNION ALL
        SELECT
            date_trunc('hour', finished_at, 'UTC'), 0, 0, (status = 'succeeded')::int,
            (status = 'failed')::int, (status = 'cancelled')::int
        FROM signalstack.finished_jobs WHERE user_id = %(user)s
    ) AS counted (hour, e, c, s, f, x)
    GROUP BY hour
"""


class Bustle:
    """Two tenants' events and jobs, and all that happens to them, in no order."""

    def __init__(
        self,
        rng: random.Random,
        pool: Pool,
        conn: Database,
        intake: Intake,
        dispatch: Dispatch,
        tenants: list[UUID],
    ) -> None:
        self._rng = rng
        self._pool = pool
        self._conn = conn
        self._intake = intake
        self._dispatch = dispatch
        self._tenants = tenants
        self._doings: list[Callable[[], Awaitable[object]]] = [
            self.enqueue,
            self.receive,
            self.work,
            self.work,
            self.lose_a_worker,
            self.cancel,
            self.retry,
            self.hide,
            self.roll_up,
        ]

    async def step(self) -> None:
        await self._rng.choice(self._doings)()

    async def enqueue(self) -> None:
        jobs = [new_job(max_attempts=self._rng.randint(1, 2)) for _ in range(self._few())]
        await self._intake.submit(new_write(self._tenant(), *jobs))

    async def receive(self) -> None:
        jobs = [new_job() for _ in range(self._few() - 1)]
        await self._intake.submit(new_write(self._tenant(), *jobs, event=new_event()))

    async def work(self) -> None:
        await self._claim(await add_worker(self._conn), self._few())

    async def lose_a_worker(self) -> None:
        worker = await add_worker(self._conn)
        await self._claim(worker, 0)
        await end_lease(self._conn, worker)
        async with self._pool.connection() as conn:
            await chores.rescue(conn, orphans=False)

    async def cancel(self) -> None:
        cancel = partial(control.cancel, observer=Witness())
        await self._control("SELECT user_id, id FROM signalstack.jobs", cancel)

    async def retry(self) -> None:
        await self._control(
            "SELECT user_id, id FROM signalstack.finished_jobs WHERE hidden_at IS NULL",
            control.retry,
        )

    async def hide(self) -> None:
        await self._control(
            "SELECT user_id, id FROM signalstack.finished_jobs WHERE hidden_at IS NULL",
            control.hide,
        )

    async def roll_up(self) -> None:
        async with self._pool.connection() as conn:
            await chores.roll_up(conn, limit=self._few())

    async def _claim(self, worker: UUID, ended: int) -> None:
        """Lease some jobs and end the first of them, at any time of the last days."""
        claim = await self._dispatch.claim(
            ["default"],
            worker_id=worker,
            token=self._rng.getrandbits(60),
            limit=self._few(),
            lanes=10,
            cursor=NIL,
            cause=Wake.POLL,
        )
        now = datetime.now(UTC).timestamp()
        for lease in claim.leases[:ended]:
            at = now - self._rng.random() * DAYS * 86_400
            outcome = self._rng.choice(OUTCOMES)
            run = Ended(lease=lease, outcome=outcome, started_at=at, finished_at=at)
            await self._dispatch.settle([run], worker_id=worker)

    async def _control(
        self, query: str, act: Callable[[Pool, UUID, UUID], Awaitable[object]]
    ) -> None:
        if found := await rows(self._conn, query):
            # A job that succeeded is not retried: as good an answer as any.
            with suppress(ConflictError):
                await act(self._pool, *self._rng.choice(found))

    def _tenant(self) -> UUID:
        return self._rng.choice(self._tenants)

    def _few(self) -> int:
        return self._rng.randint(1, 5)


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@pytest.fixture
async def conn(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        yield conn


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_counts_equal_a_recount_whatever_happened(
    database_url: str, pool: Pool, conn: Database, seed: int
) -> None:
    tenants = [await make_tenant(pool), await make_tenant(pool, "other")]
    today = datetime.now(UTC).date()
    from_, to = today - timedelta(days=DAYS + 1), today + timedelta(days=1)
    async with (
        open_link(database_url, Witness(), STATEMENTS, settings=SESSION) as link,
        open_dispatch(database_url, Witness()) as dispatch,
    ):
        rng = random.Random(seed)  # noqa: S311 - it shall repeat itself
        bustle = Bustle(rng, pool, conn, Intake(link, Witness()), dispatch, tenants)
        for _ in range(STEPS):
            await bustle.step()
            for tenant in tenants:
                told = await analytics.timeseries(pool, tenant, from_, to, Bucket.HOUR)
                assert happened(told.data) == await recount(conn, tenant)

    for tenant in tenants:
        by_hour = await analytics.timeseries(pool, tenant, from_, to, Bucket.HOUR)
        by_day = await analytics.timeseries(pool, tenant, from_, to, Bucket.DAY)
        summary = await analytics.summary(pool, tenant, from_, to)
        assert totals(by_hour.data) == totals(by_day.data) == figures(summary)
        assert sum(figures(summary)) > 0


async def test_a_period_has_all_its_buckets(pool: Pool) -> None:
    tenant = await make_tenant(pool)

    # Both days on which clocks change in much of Europe: in UTC they are like any other.
    hours = await analytics.timeseries(
        pool, tenant, date(2026, 3, 28), date(2026, 3, 29), Bucket.HOUR
    )
    days = await analytics.timeseries(
        pool, tenant, date(2024, 1, 1), date(2024, 12, 31), Bucket.DAY
    )

    first = datetime(2026, 3, 28, tzinfo=UTC)
    assert [tally.start for tally in hours.data] == [first + timedelta(hours=n) for n in range(48)]
    assert len(days.data) == 366
    assert days.data[-1].start == datetime(2024, 12, 31, tzinfo=UTC)
    assert totals(days.data) == [0] * 5


async def test_both_days_belong_to_the_period(pool: Pool, conn: Database) -> None:
    tenant = await make_tenant(pool)
    stranger = await make_tenant(pool, "other")
    for user, hour, failed in (
        (tenant, "2026-01-31T23:00Z", 1),
        (tenant, "2026-02-01T00:00Z", 2),
        (tenant, "2026-02-02T23:00Z", 4),
        (tenant, "2026-02-03T00:00Z", 8),
        (stranger, "2026-02-01T00:00Z", 16),
    ):
        await conn.execute(
            "INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_failed, jobs_succeeded)"
            " VALUES (%s, %s, %s, 1)",
            (user, hour, failed),
        )

    told = await analytics.summary(pool, tenant, date(2026, 2, 1), date(2026, 2, 2))
    days = await analytics.timeseries(pool, tenant, date(2026, 2, 1), date(2026, 2, 2), Bucket.DAY)

    assert (told.from_, told.to) == (date(2026, 2, 1), date(2026, 2, 2))
    assert (told.jobs_failed, told.jobs_succeeded, told.success_rate) == (6, 2, 0.25)
    assert [day.jobs_failed for day in days.data] == [2, 4]


async def test_where_nothing_ended_there_is_no_rate(pool: Pool) -> None:
    tenant = await make_tenant(pool)

    told = await analytics.summary(pool, tenant, date(2026, 2, 1), date(2026, 2, 1))

    assert told.success_rate is None


@pytest.mark.parametrize(
    ("from_", "to", "bucket", "pointer"),
    [
        (date(2026, 2, 2), date(2026, 2, 1), Bucket.DAY, "/from"),
        (date(2023, 1, 1), date(2024, 1, 2), Bucket.DAY, "/to"),
        (date(2026, 1, 1), date(2026, 2, 1), Bucket.HOUR, "/to"),
    ],
)
async def test_a_period_has_its_limits(
    pool: Pool, from_: date, to: date, bucket: Bucket, pointer: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        await analytics.timeseries(pool, UUID(int=0), from_, to, bucket)

    assert refused.value.faults[0].pointer == pointer


@pytest.mark.parametrize("day", [date.min, date.max])
async def test_the_ends_of_time_can_be_counted(pool: Pool, day: date) -> None:
    told = await analytics.timeseries(pool, UUID(int=0), day, day, Bucket.HOUR)

    assert len(told.data) == 24


async def test_two_rollers_at_once_count_nothing_twice(pool: Pool, conn: Database) -> None:
    tenant = await make_tenant(pool)
    await conn.execute(
        "INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_created)"
        " SELECT %s, '2026-02-01T00:00Z'::timestamptz + n %% 5 * interval '1 hour', n"
        " FROM generate_series(1, 100) AS n",
        (tenant,),
    )
    rolled: list[int] = []

    async def total() -> int:
        day = date(2026, 2, 1)
        return (await analytics.summary(pool, tenant, day, day)).jobs_created

    async def roll_up_the_rest() -> None:
        async with pool.connection() as second:
            rolled.append(await chores.roll_up(second, limit=100))

    async with (
        anyio.create_task_group() as tasks,
        pool.connection() as first,
        first.transaction(),
    ):
        rolled.append(await chores.roll_up(first, limit=40))
        tasks.start_soon(roll_up_the_rest)
        with anyio.fail_after(10):
            while not await value(
                conn,
                "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
                first.info.backend_pid,
            ):
                assert await total() == 5_050

    assert rolled == [40, 60]
    assert await total() == 5_050
    assert await value(conn, "SELECT count(*) FROM signalstack.metrics_delta") == 0
    assert await value(conn, "SELECT sum(jobs_created) FROM signalstack.metrics_hourly") == 5_050


async def recount(conn: Database, tenant: UUID) -> dict[datetime, list[int]]:
    cursor = await conn.execute(RECOUNT, {"user": tenant})
    return {hour: counts for hour, *counts in await cursor.fetchall()}


def happened(data: list[Tally]) -> dict[datetime, list[int]]:
    return {tally.start: figures(tally) for tally in data if any(figures(tally))}


def totals(data: list[Tally]) -> list[int]:
    return [sum(column) for column in zip(*map(figures, data), strict=True)]


def figures(told: Tally | Summary) -> list[int]:
    return [
        told.events_received,
        told.jobs_created,
        told.jobs_succeeded,
        told.jobs_failed,
        told.jobs_cancelled,
    ]
