"""What is older than it is to be kept goes: whole days where it can, the rest piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from recording import RecordingObserver
from rows import add_jobs, add_user, connect, rows, value
from signalstack.core.stage import Removed
from signalstack.maintenance import retention, rota
from signalstack.maintenance.leader import Maintenance
from signalstack.maintenance.retention import FOR_EVER, Retention
from signalstack.store.partitions import Keep
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from rows import Database
    from signalstack.store.pool import Pool

DAY_S: Final = 86_400.0
KEEP: Final = Keep(
    succeeded_s=7 * DAY_S,
    failed_s=30 * DAY_S,
    cancelled_s=10 * DAY_S,
    events_s=20 * DAY_S,
    messages_s=90 * DAY_S,
)
_FINISH: Final = """
INSERT INTO signalstack.finished_jobs (
    user_id, id, type, queue, priority, status, attempt, max_attempts, run_at, created_at,
    updated_at, finished_at, payload
)
SELECT
    %(user)s, made.id, 'noop', 'default', 0, %(status)s, 2, 3, now(), now(), now(),
    now() - %(ended)s * interval '1 day', to_jsonb(repeat('x', 500))
FROM (
    SELECT overlay(gen_random_uuid()::text PLACING substr(
        signalstack.uuid_floor(now() - %(made)s * interval '1 day')::text, 1, 13
    ) FROM 1 FOR 13)::uuid AS id
    FROM generate_series(1, %(count)s)
) AS made
"""
_ATTEMPTS: Final = """
INSERT INTO signalstack.attempts (user_id, job_id, attempt, outcome, started_at, finished_at)
SELECT user_id, id, 1, 'retried', now(), now() FROM signalstack.finished_jobs
"""
_MESSAGE: Final = """
INSERT INTO signalstack.messages (
    user_id, id, phone_number, content, status, created_at, updated_at
)
SELECT
    %(user)s, overlay(gen_random_uuid()::text PLACING substr(
        signalstack.uuid_floor(made.at)::text, 1, 13
    ) FROM 1 FOR 13)::uuid, '+905551111111', 'Hello', %(status)s, made.at, made.at
FROM (SELECT now() - %(days)s * interval '1 day' AS at) AS made
"""


def _ends(days: int) -> list[tuple[str, int]]:
    return [(status, days) for status in ("sent", "failed", "cancelled")]


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@pytest.fixture
async def conn(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        yield conn


@pytest.fixture
async def tenant(conn: Database) -> UUID:
    return await add_user(conn)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BLOCKS", 4)
    monkeypatch.setattr(retention, "IDLE_SHARE", 0.0)


async def _add_day(conn: Database, days_ago: int) -> str:
    """Make the partitions of a day; return what their names end in."""
    await conn.execute(
        "SELECT signalstack.make_partition(p, (now() AT TIME ZONE 'UTC')::date - %s) "
        "FROM unnest(ARRAY['events', 'finished_jobs', 'attempts']) AS p",
        (days_ago,),
    )
    return await value(
        conn, "SELECT to_char((now() AT TIME ZONE 'UTC')::date - %s, 'YYYYMMDD')", days_ago
    )


async def _finish(conn: Database, tenant: UUID, status: str, **given: Any) -> None:
    settings = {"user": tenant, "status": status, "count": 1} | given
    settings.setdefault("ended", settings["made"])
    await conn.execute(_FINISH, settings)


async def _retain(pool: Pool, keep: Keep = KEEP) -> RecordingObserver:
    observer = RecordingObserver()
    chore = Retention(pool, observer, keep)
    with anyio.fail_after(20):
        while await chore.run():
            pass
    return observer


async def _left(conn: Database) -> dict[str, int]:
    return dict(
        await rows(conn, "SELECT status, count(*) FROM signalstack.finished_jobs GROUP BY status")
    )


async def _exists(conn: Database, child: str) -> bool:
    return await value(conn, "SELECT to_regclass(%s) IS NOT NULL", f"signalstack.{child}")


async def test_jobs_go_by_their_status_and_their_attempts_with_them(
    pool: Pool, conn: Database, tenant: UUID
) -> None:
    day = await _add_day(conn, 12)
    for status in ("succeeded", "failed", "cancelled"):
        await _finish(conn, tenant, status, made=12, count=100)
        # Of days that have no partition, so in the default one.
        await _finish(conn, tenant, status, made=15, count=50)
        await _finish(conn, tenant, status, made=3, count=10)
    await conn.execute(_ATTEMPTS)

    observer = await _retain(pool)

    assert await _left(conn) == {"succeeded": 10, "failed": 160, "cancelled": 10}
    kept = "SELECT count(*), count(f.id) FROM signalstack.attempts AS a LEFT JOIN "
    kept += "signalstack.finished_jobs AS f ON f.user_id = a.user_id AND f.id = a.job_id"
    assert await rows(conn, kept) == [(180, 180)]
    deleted = sum(fact.count for fact in observer.facts(Removed, table="finished_jobs"))
    assert deleted == 300
    assert await _exists(conn, f"finished_jobs_{day}")


async def test_day_in_which_all_is_over_is_dropped_as_a_whole(
    pool: Pool, conn: Database, tenant: UUID
) -> None:
    day = await _add_day(conn, 40)
    await _finish(conn, tenant, "succeeded", made=40, count=100)
    await _finish(conn, tenant, "failed", made=40, count=20)
    await conn.execute(_ATTEMPTS)
    await conn.execute(
        "INSERT INTO signalstack.events (user_id, id, type, payload, job_ids) VALUES "
        "(%s, signalstack.uuid_floor(now() - interval '40 days'), 'x', 'null', '{}')",
        (tenant,),
    )

    observer = await _retain(pool)

    for parent in ("events", "finished_jobs", "attempts"):
        assert not await _exists(conn, f"{parent}_{day}")
    (dropped,) = observer.facts(Removed, table="finished_jobs")
    assert (dropped.how, dropped.count) == ("dropped_partition", 120)
    assert await _left(conn) == {}


async def test_old_job_that_ended_lately_is_kept_and_the_others_of_its_day_go(
    pool: Pool, conn: Database, tenant: UUID
) -> None:
    day = await _add_day(conn, 40)
    await _finish(conn, tenant, "succeeded", made=40, count=100)
    await _finish(conn, tenant, "succeeded", made=40, ended=1, count=2)

    await _retain(pool)

    assert await _left(conn) == {"succeeded": 2}
    assert await _exists(conn, f"finished_jobs_{day}")


async def test_what_slipped_into_a_day_before_it_was_detached_is_carried_on(
    pool: Pool, conn: Database, tenant: UUID
) -> None:
    day = await _add_day(conn, 40)
    await _finish(conn, tenant, "failed", made=40, count=100)
    await _finish(conn, tenant, "failed", made=40, ended=0, count=1)
    # A leader that was killed between detaching and dropping.
    await conn.execute(
        "SELECT signalstack.detach_partition('finished_jobs', %s)", (f"finished_jobs_{day}",)
    )

    await _retain(pool)

    assert await _left(conn) == {"failed": 1}
    assert not await _exists(conn, f"finished_jobs_{day}")
    assert await value(conn, "SELECT count(*) FROM signalstack.finished_jobs_default") == 1


async def test_attempts_of_a_live_job_stay_however_old(
    pool: Pool, conn: Database, tenant: UUID
) -> None:
    await add_jobs(conn, tenant)
    await conn.execute(
        "UPDATE signalstack.jobs SET id = signalstack.uuid_floor(now() - interval '90 days')"
    )
    await conn.execute(
        "INSERT INTO signalstack.attempts (user_id, job_id, attempt, outcome, started_at, "
        "finished_at) SELECT user_id, id, 1, 'retried', now(), now() FROM signalstack.jobs"
    )

    await _retain(pool)

    assert await value(conn, "SELECT count(*) FROM signalstack.attempts") == 1


async def test_nothing_goes_when_all_is_kept_for_ever(
    pool: Pool, conn: Database, tenant: UUID
) -> None:
    await _add_day(conn, 400)
    await _finish(conn, tenant, "succeeded", made=400)

    observer = await _retain(pool, FOR_EVER)

    assert await _left(conn) == {"succeeded": 1}
    assert not observer.facts(Removed)


async def test_retention_waits_for_nobody_and_keeps_nobody_waiting(
    database_url: str, pool: Pool, conn: Database, tenant: UUID
) -> None:
    day = await _add_day(conn, 40)
    await _finish(conn, tenant, "succeeded", made=40)

    async with connect(database_url) as reader:
        await reader.execute("BEGIN")
        await reader.execute("SELECT FROM signalstack.finished_jobs")
        with pytest.raises(Exception, match="too long"):
            await _retain(pool)
        assert not await _exists(conn, f"events_{day}")  # the others had their turn
        # Not in the queue for the lock any more, so a settlement is not behind it.
        await conn.execute("SET lock_timeout = '100ms'")
        await _finish(conn, tenant, "succeeded", made=0)
        await reader.execute("COMMIT")
    await _retain(pool)

    assert not await _exists(conn, f"finished_jobs_{day}")


async def test_two_leaders_at_once_do_what_one_would(
    database_url: str, conn: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalstack.maintenance.rota.RETENTION_S", 0.01)
    monkeypatch.setattr("signalstack.maintenance.chore.RETRY_S", 0.01)
    await conn.execute("SELECT pg_sleep_until(pg_postmaster_start_time() + interval '3.1 seconds')")
    old, older = await _add_day(conn, 12), await _add_day(conn, 40)
    for days_ago in (12, 40):
        await _finish(conn, tenant, "succeeded", made=days_ago, count=200)
        await _finish(conn, tenant, "failed", made=days_ago, count=100)
    await conn.execute(_ATTEMPTS)
    await conn.execute(
        "INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_created) "
        "SELECT %s, date_trunc('hour', now()), 1 FROM generate_series(1, 5000)",
        (tenant,),
    )
    await add_jobs(conn, tenant, 300)
    await conn.execute(
        "UPDATE signalstack.jobs SET attempt = 1, lease_token = 1, started_at = now(), "
        "worker_id = gen_random_uuid()"
    )
    await conn.execute(f"DROP TABLE {', '.join(await _of_a_day_to_come(conn))}".encode())

    observers = (RecordingObserver(), RecordingObserver())
    async with open_pool(database_url) as pool, anyio.create_task_group() as tasks:
        for observer in observers:
            tasks.start_soon(Maintenance(pool, observer, keep=KEEP).lead)
        with anyio.fail_after(30):
            while not await _is_tidy(conn, older):
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    assert await _left(conn) == {"failed": 100}
    assert await _exists(conn, f"finished_jobs_{old}")
    assert await value(conn, "SELECT sum(jobs_created) FROM signalstack.metrics_hourly") == 5000
    lost = "SELECT count(*), count(DISTINCT job_id) FROM signalstack.attempts WHERE outcome"
    assert await rows(conn, f"{lost} = 'lost'") == [(300, 300)]
    told = [fact for o in observers for fact in o.facts(Removed, table="finished_jobs")]
    # Of the day that goes as a whole one may delete rows while the other is about to drop it; none
    # of the 500 rows that go is deleted twice.
    assert 200 <= sum(fact.count for fact in told if fact.how == "deleted") <= 500


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (KEEP, {("pending", 100): 1, **dict.fromkeys(_ends(80), 1)}),
        (FOR_EVER, dict.fromkeys([*_ends(80), *_ends(100), ("pending", 100)], 1)),
    ],
)
async def test_messages_go_by_their_age_unless_they_wait_and_stay_counted(
    pool: Pool,
    conn: Database,
    tenant: UUID,
    monkeypatch: pytest.MonkeyPatch,
    keep: Keep,
    left: dict[tuple[str, int], int],
) -> None:
    monkeypatch.setattr(rota, "BATCH", 2)
    observer = RecordingObserver()
    for status, days in (*_ends(80), *_ends(100), ("pending", 100)):
        await conn.execute(_MESSAGE, {"user": tenant, "status": status, "days": days})
    counted = await value(conn, "SELECT sum(messages) FROM signalstack.message_tallies")

    chores = {chore.name: chore for chore in rota.make_rota(pool, observer, keep)}
    with anyio.fail_after(20):
        while await chores["forget_messages"].run():
            pass

    found = await rows(
        conn,
        "SELECT status, (now()::date - created_at::date), count(*)"
        " FROM signalstack.messages GROUP BY 1, 2",
    )
    assert {(status, days): count for status, days, count in found} == left
    assert sum(fact.count for fact in observer.facts(Removed, table="messages")) == 7 - len(left)
    assert await value(conn, "SELECT sum(messages) FROM signalstack.message_tallies") == counted


async def _of_a_day_to_come(conn: Database) -> list[str]:
    found = await rows(
        conn,
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhrelid::regclass::text "
        "LIKE '%%' || to_char((now() AT TIME ZONE 'UTC') + '2 days', 'YYYYMMDD')",
    )
    return [name for (name,) in found]


async def _is_tidy(conn: Database, older: str) -> bool:
    """Tell whether everything that is to be done is done."""
    return await value(
        conn,
        "SELECT (SELECT count(*) = 100 FROM signalstack.finished_jobs) "
        "AND NOT EXISTS (SELECT FROM signalstack.metrics_delta) "
        "AND NOT EXISTS (SELECT FROM signalstack.jobs WHERE lease_token IS NOT NULL) "
        "AND (SELECT count(*) = 400 FROM signalstack.attempts) "
        "AND (SELECT count(*) = 3 FROM pg_inherits WHERE inhrelid::regclass::text "
        "LIKE '%%' || to_char((now() AT TIME ZONE 'UTC') + '2 days', 'YYYYMMDD')) "
        "AND to_regclass(%s) IS NULL",
        f"signalstack.finished_jobs_{older}",
    )
