"""Ticks: each is taken once, in time, or as its schedule says when nobody was there."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from recording import RecordingObserver
from rows import add_user, connect, rows, value
from signalstack.core.handler import JobType, Registry
from signalstack.core.schedule import ScheduleRequest
from signalstack.core.stage import ChoreEnded, Enqueued, Ticked
from signalstack.handlers.noop import NOOP
from signalstack.maintenance.leader import Maintenance
from signalstack.maintenance.schedules import Schedules
from signalstack.store import schedules as store
from signalstack.store.pool import Pool
from signalstack.usecases import schedules
from signalstack.usecases.tick import Ticker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from rows import Database
    from signalstack.core.handler import Context
    from signalstack.core.schedule import Misfire


class Picky(msgspec.Struct):
    """A payload whose own check has a fault."""

    n: int = 0

    def __post_init__(self) -> None:
        if self.n == 1:
            raise KeyError("n")
        if self.n:
            raise RuntimeError("a\x00b\ud800c" if self.n == 2 else _Mute())


class _Mute:
    """What cannot be read."""

    def __str__(self) -> str:
        raise KeyError("mute")


async def _run(_payload: Any, _context: Context) -> None:
    """Never run here."""


PICKY = JobType(name="picky", payload=Picky, run=_run, is_async=True)
REGISTRY: Registry = {"noop": NOOP, "picky": PICKY}


class Rig:
    """A tenant with schedules, and a ticker."""

    def __init__(self, pool: Pool, observer: RecordingObserver, conn: Database, user: UUID) -> None:
        self.pool = pool
        self.observer = observer
        self.conn = conn
        self.user = user
        self.ticker = Ticker(pool, REGISTRY, observer, max_attempts=4)

    async def make(self, cron: str = "@every 10s", **fields: Any) -> UUID:
        """Make a schedule of no-ops."""
        job = {"type": "noop", "payload": {"at": {"$": "tick"}}, **fields.pop("job", {})}
        wanted = {"name": "s", "cron": cron, "job": job, **fields}
        request = msgspec.convert(wanted, ScheduleRequest)
        made = await schedules.create(self.pool, self.user, request, registry=REGISTRY)
        return made.id

    async def age(self, seconds: float) -> None:
        """Move all schedules back in time, as if nobody had led meanwhile."""
        await self.conn.execute(
            "UPDATE signalstack.schedules SET anchor = anchor - %(s)s * interval '1 second', "
            "next_tick = next_tick - %(s)s * interval '1 second'",
            {"s": seconds},
        )

    async def due(self) -> list[store.DueSchedule]:
        async with self.pool.connection() as conn:
            return await store.due(conn, limit=100)

    async def ticks(self) -> list[tuple[Any, ...]]:
        """List the ticks on record: when, what became of it, how many it stands for."""
        return await rows(
            self.conn,
            "SELECT tick, outcome, passed, job_id FROM signalstack.schedule_ticks ORDER BY tick",
        )

    async def jobs(self) -> int:
        return await value(self.conn, "SELECT count(*) FROM signalstack.jobs")

    async def shown(self, schedule: UUID) -> Any:
        return await schedules.get(self.pool, self.user, schedule)


@pytest.fixture
async def rig(database_url: str) -> AsyncGenerator[Rig]:
    observer = RecordingObserver()
    async with Pool(database_url, observer) as pool, connect(database_url) as conn:
        yield Rig(pool, observer, conn, await add_user(conn))


async def test_a_tick_becomes_a_job_and_all_that_goes_with_it(rig: Rig) -> None:
    made = await rig.make(job={"priority": 7, "timeout_s": 9.5})
    await rig.conn.execute("LISTEN signalstack_ready")
    await rig.age(11)

    await rig.ticker.take_due()

    ((tick, outcome, passed, job_id),) = await rig.ticks()
    (job,) = await rows(
        rig.conn,
        "SELECT user_id, type, queue, priority, delayed, max_attempts, timeout_s, payload,"
        " idempotency_key, attempt FROM signalstack.jobs WHERE id = %s",
        job_id,
    )
    told = tick.astimezone(UTC).isoformat().replace("+00:00", "Z")
    assert (outcome, passed) == ("enqueued", 0)
    assert job == (
        *(rig.user, "noop", "default", 7, False, 4, 9.5, {"at": told}),
        *(f"schedule:{made}:{told}", 0),
    )
    assert await value(rig.conn, "SELECT sum(jobs_created) FROM signalstack.metrics_delta") == 1
    assert [note.payload async for note in rig.conn.notifies(timeout=5, stop_after=1)] == [
        "default"
    ]
    shown = await rig.shown(made)
    assert (shown.last_tick, shown.last_job_id, shown.last_error) == (tick, job_id, None)
    assert shown.next_runs[0] == tick + timedelta(seconds=10)
    assert shown.updated_at == shown.created_at
    enqueued = await rig.observer.seen(Ticked, outcome="enqueued", count=1)
    assert 0 <= enqueued.lag_s < 10
    assert await rig.observer.seen(Enqueued, queue="default", type="noop", count=1)
    assert rig.observer.spans[-1].name == "send default"


async def test_nothing_is_taken_before_its_time(rig: Rig) -> None:
    assert await rig.ticker.take_due() is None
    await rig.make()

    wait_s = await rig.ticker.take_due()

    assert wait_s is not None
    assert 0 < wait_s <= 10
    assert await rig.ticks() == []


async def test_two_leaders_that_find_the_same_tick_take_it_once(rig: Rig) -> None:
    await rig.make()
    await rig.age(11)
    first, second = await rig.due(), await rig.due()

    assert await rig.ticker.take(first) == 1
    assert await rig.ticker.take(second) == 0

    assert len(await rig.ticks()) == await rig.jobs() == 1


async def test_a_tick_that_is_on_record_makes_no_second_job_whatever_the_schedule_says(
    rig: Rig,
) -> None:
    made = await rig.make()
    await rig.age(11)
    before = await value(rig.conn, "SELECT next_tick FROM signalstack.schedules")
    await rig.ticker.take_due()
    first = await rig.shown(made)
    await rig.conn.execute("UPDATE signalstack.schedules SET next_tick = %s", (before,))

    await rig.ticker.take_due()

    assert await rig.observer.seen(Ticked, outcome="duplicate")
    assert len(await rig.ticks()) == await rig.jobs() == 1
    again = await rig.shown(made)
    assert (again.last_job_id, again.last_tick) == (first.last_job_id, first.last_tick)
    assert again.next_runs[0] > before


async def test_a_leader_that_dies_before_it_writes_leaves_the_tick_to_the_next(rig: Rig) -> None:
    await rig.make()
    await rig.age(11)
    await rig.due()  # and no more is heard of it

    await rig.ticker.take_due()

    assert len(await rig.ticks()) == await rig.jobs() == 1


async def test_a_change_between_finding_and_writing_wins(rig: Rig) -> None:
    made = await rig.make()
    await rig.age(11)
    found = await rig.due()
    await schedules.pause(rig.pool, rig.user, made)

    assert await rig.ticker.take(found) == 0
    assert await rig.ticks() == []


async def test_what_its_owner_is_changing_just_now_is_left_for_a_moment(
    rig: Rig, database_url: str
) -> None:
    await rig.make()
    await rig.age(11)
    async with connect(database_url) as owner:
        await owner.execute("BEGIN")
        await owner.execute("SELECT FROM signalstack.schedules FOR UPDATE")

        wait_s = await rig.ticker.take_due()

        assert wait_s is not None
        assert 0 < wait_s < 1
        await owner.execute("ROLLBACK")
    assert await rig.ticker.take_due() == 0
    assert await rig.jobs() == 1


@pytest.mark.parametrize(
    ("misfire", "late_s", "outcome"),
    [
        ("once", 3_600, "enqueued"),
        ("once", 30, "enqueued"),
        ("skip", 3_600, "skipped"),
        ("skip", 30, "enqueued"),
    ],
)
async def test_a_late_tick_is_made_up_for_or_dropped_as_its_schedule_says(
    rig: Rig, misfire: Misfire, late_s: float, outcome: str
) -> None:
    made = await rig.make("@every 24h", misfire=misfire)
    await rig.age(86_400 + late_s)

    await rig.ticker.take_due()

    ((_, noted, passed, job_id),) = await rig.ticks()
    assert (noted, passed) == (outcome, 0)
    assert (job_id is not None) == (outcome == "enqueued") == bool(await rig.jobs())
    assert (await rig.shown(made)).next_runs[0] > datetime.now(UTC)


@pytest.mark.parametrize("misfire", ["once", "skip"])
async def test_of_many_ticks_that_were_missed_the_latest_makes_the_one_job(
    rig: Rig, misfire: Misfire
) -> None:
    await rig.make("@every 10s", misfire=misfire)
    await rig.age(3_605)

    await rig.ticker.take_due()

    ((tick, outcome, passed, _),) = await rig.ticks()
    assert (outcome, passed) == ("enqueued", 359)
    assert datetime.now(UTC) - tick < timedelta(seconds=20)
    assert await rig.jobs() == 1
    skipped = await rig.observer.seen(Ticked, outcome="skipped")
    assert skipped.count == 359


async def test_months_of_missed_ticks_are_no_long_search(rig: Rig) -> None:
    await rig.make("*/5 * * * *", misfire="once", timezone="Europe/Berlin")
    await rig.conn.execute(
        "UPDATE signalstack.schedules SET next_tick = next_tick - interval '200 days'"
    )

    await rig.ticker.take_due()

    ((tick, outcome, passed, _),) = await rig.ticks()
    assert (outcome, passed) == ("enqueued", 100)
    assert datetime.now(UTC) - tick < timedelta(minutes=6)


@pytest.mark.parametrize(
    ("n", "told"),
    [(2, "RuntimeError: a\ufffdb?c"), (3, "RuntimeError: (its text cannot be read)")],
)
async def test_an_error_that_cannot_be_kept_or_read_stops_nobody_elses_ticks(
    rig: Rig, n: int, told: str
) -> None:
    spoilt = await rig.make()
    await rig.conn.execute(
        """UPDATE signalstack.schedules SET job = job || jsonb_build_object(
            'type', 'picky', 'payload', jsonb_build_object('n', %s::integer))""",
        (n,),
    )
    await rig.make(name="other")
    await rig.age(11)

    await rig.ticker.take_due()

    assert sorted(outcome for _, outcome, _, _ in await rig.ticks()) == ["enqueued", "rejected"]
    assert (await rig.shown(spoilt)).last_error == told


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ('UPDATE signalstack.schedules SET job = job || \'{"type": "old"}\'', "/job/type: 'old'"),
        ('UPDATE signalstack.schedules SET job = job || \'{"queue": "gone"}\'', "'gone' does not"),
        ("UPDATE signalstack.users SET suspended_at = now()", "the tenant is suspended"),
        (
            """UPDATE signalstack.schedules SET job=job||'{"type":"picky","payload":{"n":1}}'""",
            "KeyError: 'n'",
        ),
        ('UPDATE signalstack.schedules SET job = \'{"queue": "default"}\'', "`type`"),
    ],
)
async def test_a_job_that_cannot_be_made_any_more_is_noted_and_the_schedule_goes_on(
    rig: Rig, spoil: str, told: str
) -> None:
    made = await rig.make()
    await rig.conn.execute(spoil.encode())
    await rig.age(11)

    await rig.ticker.take_due()

    ((tick, outcome, _, job_id),) = await rig.ticks()
    shown = await rig.shown(made)
    assert (outcome, job_id, await rig.jobs()) == ("rejected", None, 0)
    assert told in shown.last_error
    assert shown.last_tick == tick
    assert shown.next_runs[0] > tick
    await rig.observer.seen(Ticked, outcome="rejected")


async def test_a_path_that_leads_nowhere_is_null_where_an_older_build_let_it_in(rig: Rig) -> None:
    await rig.make()
    await rig.age(11)
    await rig.conn.execute(
        """UPDATE signalstack.schedules SET job = job || '{"payload": {"at": {"$": "tickk"}}}'"""
    )

    await rig.ticker.take_due()

    assert await value(rig.conn, "SELECT payload FROM signalstack.jobs") == {"at": None}


async def test_a_schedule_whose_zone_is_gone_rests_until_it_is_resumed(rig: Rig) -> None:
    made = await rig.make()
    await rig.conn.execute("UPDATE signalstack.schedules SET timezone = 'Europe/Atlantis'")
    await rig.age(11)

    await rig.ticker.take_due()

    assert await rig.ticker.take_due() is None
    assert "Europe/Atlantis" in (await rig.shown(made)).last_error
    await rig.conn.execute("UPDATE signalstack.schedules SET timezone = 'Europe/Athens'")
    await schedules.resume(rig.pool, rig.user, made)
    assert await rig.ticker.take_due() is not None


async def test_an_error_is_over_with_the_next_job(rig: Rig) -> None:
    made = await rig.make()
    await rig.conn.execute("UPDATE signalstack.schedules SET last_error = 'old'")
    await rig.age(11)

    await rig.ticker.take_due()

    assert (await rig.shown(made)).last_error is None


async def test_old_ticks_are_forgotten_a_bounded_number_at_a_time(rig: Rig) -> None:
    made = await rig.make()
    await rig.conn.execute(
        "INSERT INTO signalstack.schedule_ticks (schedule_id, tick, outcome, passed, noted_at) "
        "SELECT %s, now() - n * interval '10 hours', 'skipped', 0, now() - n * interval '10 hours' "
        "FROM generate_series(1, 5) AS n",
        (made,),
    )
    async with rig.pool.connection() as conn:
        assert await store.forget_ticks(conn, keep_s=86_400, limit=2) == 2
        assert await store.forget_ticks(conn, keep_s=86_400, limit=2) == 1
    assert len(await rig.ticks()) == 2


async def test_due_schedules_are_found_by_their_index(rig: Rig) -> None:
    await rig.conn.execute(
        "INSERT INTO signalstack.schedules (id, user_id, name, cron, timezone, misfire, job,"
        " anchor, next_tick, created_at, updated_at) SELECT gen_random_uuid(), %s, n::text,"
        " '@hourly', 'UTC', 'skip', '{}', now(), now() + n * interval '1 minute', now(), now()"
        " FROM generate_series(1, 3000) AS n",
        (rig.user,),
    )
    await rig.conn.execute("ANALYZE signalstack.schedules")
    for query, parameters in (("soonest", {}), ("due", {"limit": 100})):
        text = store.Query(f"schedules/{query}", int).text
        plan = await rig.conn.execute(b"EXPLAIN " + text.encode(), parameters)
        assert "schedules_due" in str(await plan.fetchall())


@asynccontextmanager
async def leading(dsn: str) -> AsyncGenerator[RecordingObserver]:
    """Lead without standing for it, as a process does that takes itself for the leader."""
    observer = RecordingObserver()
    async with Pool(dsn, observer) as pool, anyio.create_task_group() as tasks:
        ticker = Ticker(pool, REGISTRY, observer, max_attempts=3)
        loops = [Schedules(ticker, observer).run]
        tasks.start_soon(Maintenance(pool, observer, loops=loops).lead)
        yield observer
        tasks.cancel_scope.cancel()


async def test_the_leader_sees_a_new_schedule_and_wakes_for_its_ticks(
    rig: Rig, database_url: str
) -> None:
    async with leading(database_url) as leader:
        await leader.seen(ChoreEnded, chore="ticks")
        await rig.make("@every 1s")
        fact = await leader.seen(Ticked, outcome="enqueued", count=2)

    assert fact.lag_s < 0.5


async def test_three_leaders_at_once_take_each_tick_once_and_leave_none_out(
    rig: Rig, database_url: str
) -> None:
    await rig.conn.execute("LISTEN signalstack_ready")
    for n in range(20):
        await rig.make("@every 1s", name=f"s{n}", misfire="once")

    async with leading(database_url), leading(database_url), leading(database_url):
        while await value(rig.conn, "SELECT count(*) FROM signalstack.schedule_ticks") < 60:
            async for _ in rig.conn.notifies(timeout=5, stop_after=1):
                pass

    accounts = await rows(
        rig.conn,
        "SELECT extract(epoch FROM max(t.tick) - min(s.anchor))::int, sum(1 + t.passed),"
        " count(t.job_id), count(*)"
        " FROM signalstack.schedule_ticks AS t JOIN signalstack.schedules AS s"
        " ON s.id = t.schedule_id GROUP BY s.id",
    )
    assert len(accounts) == 20
    for due, accounted_for, made, taken in accounts:
        assert (due, made) == (accounted_for, taken)
    assert await rig.jobs() == sum(made for _, _, made, _ in accounts)
