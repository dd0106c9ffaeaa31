"""What the maintenance leader reads for the gauges: true, and cheap however much there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import pytest

from recording import RecordingObserver
from rows import add_jobs, add_user, add_worker, connect, value
from signalstack.core.stage import ChoreEnded, DatabaseRead, LeaderChanged, QueuesRead
from signalstack.maintenance.leader import Maintenance
from signalstack.store import gauges
from signalstack.store.query import read
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from rows import Database
    from signalstack.core.reading import QueueReading
    from signalstack.store.pool import Pool

ROWS: Final = 60_000
_FILL: Final = """
INSERT INTO signalstack.jobs
    (user_id, id, type, queue, priority, delayed, max_attempts, run_at, lease_token, payload)
SELECT
    lpad(to_hex(n % 3), 32, '0')::uuid, gen_random_uuid(), 'noop',
    CASE WHEN n % 10 = 0 THEN 'mail' ELSE 'default' END, 0, n > {rows} / 2, 3,
    now() + CASE WHEN n > {rows} / 2 THEN interval '1 day' ELSE interval '0' END,
    CASE WHEN n <= 200 THEN 1 END, 'null'
FROM generate_series(1, {rows}) AS n
"""


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@pytest.fixture
async def conn(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        yield conn


async def _queues(pool: Pool, **options: Any) -> dict[str, QueueReading]:
    async with pool.connection() as conn:
        return {found.queue: found for found in await gauges.read_queues(conn, **options)}


async def test_queues_are_counted_as_they_are_with_all_tenants_together(
    pool: Pool, conn: Database
) -> None:
    now = datetime.now(UTC)
    acme, other = await add_user(conn), await add_user(conn, "other")
    await add_jobs(conn, acme, 3)
    await add_jobs(conn, other, 2, priority=5)
    await add_jobs(conn, other, 4, queue="mail", run_at=now + timedelta(hours=1))
    await add_jobs(conn, acme, 1, queue="mail", run_at=now - timedelta(seconds=90))
    await conn.execute(
        "UPDATE signalstack.jobs SET lease_token = 1 WHERE id = "
        "(SELECT id FROM signalstack.jobs WHERE queue = 'default' ORDER BY id LIMIT 1)"
    )
    await conn.execute(
        "UPDATE signalstack.jobs SET run_at = now() - interval '1 hour' WHERE id = "
        "(SELECT id FROM signalstack.jobs WHERE queue = 'default' ORDER BY id DESC LIMIT 1)"
    )
    await conn.execute(
        "INSERT INTO signalstack.queues (user_id, name, paused) VALUES (%s, 'idle', true)", (acme,)
    )
    await add_worker(conn)
    await add_worker(conn, lease_s=-5)
    due = await add_worker(conn, lease_s=0)
    await conn.execute(
        "INSERT INTO signalstack.workers (id, name, queues, concurrency, lease_until) "
        "VALUES (gen_random_uuid(), 'mailer', '{mail}', 1, now() + interval '1 hour')"
    )

    found = await _queues(pool)
    async with pool.connection() as lent:
        workers = await gauges.read_workers(lent)

    counts = {q.queue: (q.pending, q.running, q.scheduled, q.workers) for q in found.values()}
    assert counts.pop("messages") == (0, 0, 0, 1)  # the operator's, there from the start
    assert counts == {"default": (4, 1, 0, 1), "mail": (1, 0, 4, 2), "idle": (0, 0, 0, 1)}
    assert 3_600 <= found["default"].oldest_s < 3_660
    assert 90 <= found["mail"].oldest_s < 150
    assert found["idle"].oldest_s == 0
    assert [name for name, queue in found.items() if queue.paused] == ["idle"]
    ended_at = await value(
        conn,
        "SELECT extract(EPOCH FROM lease_until)::float8 FROM signalstack.workers WHERE id = %s",
        due,
    )
    late = workers.at - ended_at > 1  # usually it is not: it may yet be rescued in time
    assert (workers.alive, workers.stale) == (2, 2 if late else 1)


async def test_the_operators_queues_come_first_and_then_those_with_jobs(
    pool: Pool, conn: Database
) -> None:
    acme = await add_user(conn)
    await conn.execute(
        "INSERT INTO signalstack.queues (user_id, name) VALUES"
        " (%s, 'a-idle'), (%s, 'b-busy'), ('00000000-0000-0000-0000-000000000000', 'z-operators')",
        (acme, acme),
    )
    await add_jobs(conn, acme, 1, queue="b-busy")
    await add_jobs(conn, acme, 1, queue="c-busy", run_at=datetime.now(UTC) + timedelta(hours=1))

    found = list(await _queues(pool))

    of_tenants = ["b-busy", "c-busy", "a-idle"]
    assert [name for name in found if name in of_tenants] == of_tenants == found[-3:]
    assert "z-operators" in found[:-3]


async def test_beyond_the_budget_the_estimate_of_postgresql_is_shown(
    pool: Pool, conn: Database
) -> None:
    await conn.execute(_FILL.format(rows=ROWS).encode())
    waits_behind = await add_user(conn)
    await conn.execute(
        "INSERT INTO signalstack.jobs (user_id, id, type, queue, priority, delayed, max_attempts, "
        "run_at, payload) VALUES (lpad('1', 32, '0')::uuid, %s, 'noop', 'default', -5, false, 3, "
        "now() - interval '1 day', 'null')",
        (waits_behind,),
    )
    await conn.execute("VACUUM ANALYZE signalstack.jobs")

    found = await _queues(pool, budget=2_000)

    truth = await value(
        conn,
        "SELECT count(*) FROM signalstack.jobs "
        "WHERE queue = 'default' AND NOT delayed AND lease_token IS NULL",
    )
    assert found["default"].pending == pytest.approx(truth, rel=0.1)
    assert found["default"].scheduled == pytest.approx(ROWS / 2 * 0.9, rel=0.1)
    assert found["mail"].scheduled == pytest.approx(ROWS / 2 * 0.1, rel=0.3)
    # Below the others in priority and beyond the budget, yet seen.
    assert found["default"].oldest_s > 86_000


async def test_what_a_tenant_has_paused_is_held_and_hides_nothing_of_others(
    pool: Pool, conn: Database
) -> None:
    now = datetime.now(UTC)
    acme, other = await add_user(conn), await add_user(conn, "other")
    await add_jobs(conn, acme, 3)
    await conn.execute("UPDATE signalstack.jobs SET run_at = now() - interval '1 hour'")
    await add_jobs(conn, acme, 4, run_at=now - timedelta(hours=2))
    await add_jobs(conn, acme, 1, run_at=now + timedelta(hours=1))
    await add_jobs(conn, other, 1)
    await add_jobs(conn, other, 1, run_at=now - timedelta(minutes=10))
    await add_jobs(conn, other, 2, queue="mail")
    await conn.execute(
        "INSERT INTO signalstack.queues (user_id, name, paused) VALUES (%s, 'default', true),"
        " ('00000000-0000-0000-0000-000000000000', 'mail', true)",
        (acme,),
    )

    found = await _queues(pool)

    default, mail = found["default"], found["mail"]
    assert (default.pending, default.held, default.scheduled) == (2, 7, 1)
    assert 600 <= default.oldest_s < 660
    assert (mail.pending, mail.held, mail.oldest_s) == (0, 2, 0)
    assert default.paused
    assert mail.paused


@pytest.mark.parametrize("held", ["few", "many", "both"])
async def test_beyond_the_budget_the_estimate_goes_to_those_who_are_beyond_it(
    pool: Pool, conn: Database, held: str
) -> None:
    acme, other = await add_user(conn), await add_user(conn, "other")
    await add_jobs(conn, acme, 9_000 if held != "few" else 3)
    await add_jobs(conn, other, 9_000 if held != "many" else 3)
    await conn.execute(
        "INSERT INTO signalstack.queues (user_id, name, paused) VALUES (%s, 'default', true)",
        (acme,),
    )
    await conn.execute("VACUUM ANALYZE signalstack.jobs")

    found = (await _queues(pool, budget=100))["default"]

    assert (found.pending, found.held) == {
        "few": (pytest.approx(9_000, rel=0.1), 3),
        "many": (3, pytest.approx(9_000, rel=0.1)),
        "both": (pytest.approx(9_000, rel=0.1), pytest.approx(9_000, rel=0.1)),
    }[held]


async def test_tenants_that_small_queues_do_not_need_are_looked_at_in_others(
    pool: Pool, conn: Database
) -> None:
    tenants = [await add_user(conn, f"tenant {n}") for n in range(60)]
    for n in range(100):
        await add_jobs(conn, tenants[0], 1, queue=f"small-{n}")
    for tenant in tenants:
        await add_jobs(conn, tenant, 1)
    await conn.execute(
        "UPDATE signalstack.jobs SET run_at = now() - interval '1 hour'"
        " WHERE queue = 'default' AND user_id = %s",
        (tenants[-1],),
    )

    found = await _queues(pool)

    assert found["default"].pending == 60
    assert found["default"].oldest_s >= 3_600


async def test_reading_costs_no_more_than_its_budget_and_scans_no_jobs(conn: Database) -> None:
    await conn.execute(_FILL.format(rows=ROWS).encode())
    await conn.execute("VACUUM ANALYZE signalstack.jobs")
    filled = read("gauges/queues").replace("%(budget)s", "1000").replace("%(lanes)s", "50")

    (found,) = await value(conn, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {filled}")

    scans = [node for node in _nodes(found["Plan"]) if node.get("Relation Name") == "jobs"]
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan"}
    assert {node["Index Name"] for node in scans} == {"jobs_ready", "jobs_delayed"}
    # Six lanes and a thousand jobs of either kind, a block or so each; 60,000 would be far more.
    plan = found["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 5_000


async def test_leader_tells_queues_and_database_again_and_again(
    database_url: str, conn: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalstack.maintenance.gauges.QUEUES_S", 0.05)
    await add_jobs(conn, await add_user(conn), 2)
    observer = RecordingObserver()

    async with open_pool(database_url) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(Maintenance(pool, observer).run)
        await observer.seen(DatabaseRead)
        await observer.seen(ChoreEnded, chore="queue_gauges", outcome="done", count=2)
        tasks.cancel_scope.cancel()

    first, (database,) = observer.facts(QueuesRead)[0], observer.facts(DatabaseRead)
    assert [queue.pending for queue in first.queues if queue.queue == "default"] == [2]
    last = [fact for fact in observer.told if isinstance(fact, LeaderChanged | QueuesRead)][-1]
    assert last == LeaderChanged(leading=False)
    server = database.server
    assert server.connections_limit == int(await value(conn, "SHOW max_connections"))
    assert server.idle + server.active >= 1
    assert not server.in_recovery
    tables = {table.name: table for table in database.tables}
    assert {"jobs", "finished_jobs", "events", "attempts", "workers"} <= tables.keys()
    assert not [name for name in tables if name[-8:].isdigit()]
    assert tables["jobs"].bytes > 0


async def test_who_holds_vacuum_back_is_seen(database_url: str, pool: Pool, conn: Database) -> None:
    async with connect(database_url) as idler:
        await idler.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await idler.execute("SELECT count(*) FROM signalstack.jobs")
        for name in ("a", "b", "c"):
            await add_user(conn, name)
        async with pool.connection() as lent:
            server = await gauges.read_server(lent)

    assert server is not None
    assert server.in_transaction >= 1
    assert server.oldest_transaction_s > 0
    assert server.xmin_age >= 3


async def test_what_other_databases_have_open_holds_nothing_of_ours_back(
    empty_database_url: str, pool: Pool, conn: Database
) -> None:
    async with connect(empty_database_url) as neighbour:
        await neighbour.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await neighbour.execute("SELECT count(*) FROM pg_class")
        for name in ("a", "b", "c"):
            await add_user(conn, name)
        async with pool.connection() as lent:
            server = await gauges.read_server(lent)

    assert server is not None
    assert server.in_transaction >= 1  # a connection of the server all the same
    assert server.oldest_transaction_s == 0
    assert server.xmin_age < 3


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in cast("list[dict[str, Any]]", plan.get("Plans", [])):
        yield from _nodes(inner)
