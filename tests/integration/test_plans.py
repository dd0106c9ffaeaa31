"""How PostgreSQL runs the hot queries on tables of real size, whatever its statistics say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import msgspec
import pytest

from rows import add_user, add_worker, connect, take, value
from signalstack.core.ids import new_id
from signalstack.store import dispatch, intake
from signalstack.store.query import read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from rows import Database

ROWS: Final = 60_000
TENANTS: Final = 20

# Half is delayed until tomorrow, the rest waits, 200 of it runs already.
_FILL: Final = """
INSERT INTO signalstack.jobs
    (user_id, id, type, queue, priority, delayed, max_attempts, run_at, lease_token, payload)
SELECT
    lpad(to_hex(n % {tenants}), 32, '0')::uuid,
    (lpad(to_hex(1800000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
    'noop', 'default', 0, n > {rows} / 2, 3,
    now() + CASE WHEN n > {rows} / 2 THEN interval '1 day' ELSE interval '0' END,
    CASE WHEN n <= 200 THEN 1 END, 'null'
FROM generate_series(1, {rows}) AS n
"""
_FILL_KEYS: Final = """
INSERT INTO signalstack.idempotency
SELECT gen_random_uuid(), 'jobs', n::text, '', gen_random_uuid(), now() + interval '1 hour'
FROM generate_series(1, {rows}) AS n
"""
_FILL_DELTAS: Final = """
INSERT INTO signalstack.metrics_delta (user_id, hour, jobs_created)
SELECT gen_random_uuid(), now(), 1 FROM generate_series(1, {rows}) AS n
"""

_INTAKE: Final = (
    "intake/enqueue",
    "intake/enqueue_one",
    "intake/enqueue_one_pooled",
    "intake/accept",
    "intake/accept_one",
)
_MANY: Final = 500
# What that file sets for a transaction, for the session.
_DO_NOT_SORT: Final = dict(re.findall(r"'(\w+)', '(\w+)', true", read("dispatch/do_not_sort")))


class Hot(msgspec.Struct, frozen=True, kw_only=True):
    """A hot query: how it is called, and by which indexes alone it may reach its rows."""

    arguments: str
    indexes: set[str]
    session: dict[str, str] = msgspec.field(default_factory=lambda: dispatch.CLAIM_SESSION)


def _calls(worker: str) -> dict[str, Hot]:
    uuids = _array(*(str(new_id()) for _ in range(_MANY)))
    bigints = _array(*map(str, range(_MANY)))
    times = _array(*["now"] * _MANY)
    spots = _array(*(f'"({block},1)"' for block in range(_MANY)))
    nulls, ones = _array(*["NULL"] * _MANY), _array(*["1"] * _MANY)
    nil = "'00000000-0000-0000-0000-000000000000'"
    return {
        "dispatch/claim": Hot(
            arguments=f"'{{default,mail}}', '{{}}', 100, 100, '{worker}', 7, 'poll', 8192",
            indexes={"jobs_ready", "workers_pkey", "queues_pkey"},
        ),
        "dispatch/claim_plain": Hot(
            arguments=f"'{{default,mail}}', {nil}, 100, 100, '{worker}', 7, 'poll', 8192",
            indexes={"jobs_ready", "workers_pkey", "queues_pkey"},
        ),
        "dispatch/claim_new": Hot(
            arguments=f"'{{default,mail}}', {nil}, 100, 100, '{worker}', 7, 'poll', 8192, {nil}",
            indexes={"jobs_ready", "workers_pkey", "queues_pkey"},
            session={**dispatch.CLAIM_SESSION, **_DO_NOT_SORT},
        ),
        "dispatch/claim_next": Hot(
            arguments=f"'{{default,mail}}', {nil}, 100, 100, '{worker}', 7, 'poll', 8192, {nil}",
            indexes={"jobs_ready", "workers_pkey", "queues_pkey"},
            session={**dispatch.CLAIM_SESSION, **_DO_NOT_SORT},
        ),
        "dispatch/promote": Hot(arguments="1000", indexes={"jobs_delayed"}),
        "dispatch/busy_queues": Hot(arguments="", indexes={"jobs_ready"}),
        "dispatch/finish": Hot(
            arguments=f"{uuids}, {uuids}, {bigints}, {ones}, {times}, {times}, {nulls}, {nulls}",
            indexes={"jobs_pkey"},
            session=dispatch.SESSION,
        ),
        "dispatch/finish_at": Hot(
            arguments=f"{uuids}, {uuids}, {bigints}, {ones}, {times}, {times}, {nulls}, {nulls}, "
            f"{spots}",
            indexes=set(),
            session=dispatch.SESSION,
        ),
        "dispatch/finish_one": Hot(
            arguments=f"{nil}, {nil}, 7, '1', 'now', 'now', NULL, NULL",
            indexes={"jobs_pkey"},
            session=dispatch.SESSION,
        ),
        "dispatch/requeue": Hot(
            arguments=f"{uuids}, {uuids}, {bigints}, {nulls}, {times}, {times}, {nulls}, "
            f"{ones}, {nulls}, {ones}, {uuids}, {nulls}",
            indexes={"jobs_pkey"},
            session=dispatch.SESSION,
        ),
        "dispatch/payload": Hot(
            arguments=f"{nil}, {nil}, 7, 1000",
            indexes={"jobs_pkey"},
            session=dispatch.SESSION,
        ),
    }


def _array(*elements: str) -> str:
    return "'{" + ",".join(elements) + "}'"


@pytest.fixture
async def conn(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        await conn.execute("ALTER TABLE signalstack.jobs SET (autovacuum_enabled = off)")
        yield conn


async def _fill(conn: Database, *, statistics: str) -> None:
    """Fill the tables; statistics are fresh, of when they were empty, or of when none existed."""
    if statistics == "of empty tables":
        await conn.execute("VACUUM ANALYZE signalstack.jobs")
    await conn.execute(_FILL.format(rows=ROWS, tenants=TENANTS).encode())
    if statistics == "fresh":
        await conn.execute("VACUUM ANALYZE signalstack.jobs")


async def _explain(
    conn: Database, name: str, hot: Hot, options: str = "FORMAT JSON"
) -> dict[str, Any]:
    await _prepare(conn, name, hot)
    return await _explain_prepared(conn, name, hot, options)


async def _prepare(conn: Database, name: str, hot: Hot) -> None:
    await conn.execute("RESET ALL")
    await _set(conn, hot.session)
    if await _is_prepared(conn, name):
        await conn.execute(f'DEALLOCATE "{name}"'.encode())
    await conn.execute(f'PREPARE "{name}" AS {read(name)}'.encode())


async def _set(conn: Database, session: Mapping[str, str]) -> None:
    for setting, wanted in session.items():
        await conn.execute("SELECT set_config(%s, %s, false)", (setting, wanted))


async def _is_prepared(conn: Database, name: str) -> bool:
    question = "SELECT EXISTS (SELECT FROM pg_prepared_statements WHERE name = %s)"
    return await value(conn, question, name)


async def _explain_prepared(
    conn: Database, name: str, hot: Hot, options: str = "FORMAT JSON"
) -> dict[str, Any]:
    call = f'EXECUTE "{name}"({hot.arguments})' if hot.arguments else f'EXECUTE "{name}"'
    (found,) = await value(conn, f"EXPLAIN ({options}) {call}")
    return found["Plan"]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in cast("list[dict[str, Any]]", plan.get("Plans", [])):
        yield from _nodes(inner)


@pytest.mark.parametrize("statistics", ["fresh", "of empty tables", "none"])
async def test_hot_queries_reach_jobs_by_their_indexes_alone(
    conn: Database, statistics: str
) -> None:
    await _fill(conn, statistics=statistics)
    worker = await add_worker(conn)

    for name, hot in _calls(str(worker)).items():
        nodes = list(_nodes(await _explain(conn, name, hot)))
        kinds = {node["Node Type"] for node in nodes}
        assert kinds.isdisjoint({"Seq Scan", "Hash Join", "Merge Join"}), name
        scans = [node for node in nodes if "Index Name" in node]
        assert {node["Index Name"] for node in scans} == hot.indexes, name
        unbound = [node for node in scans if "Index Cond" not in node]
        # Only the first step of the walk over all queues has nothing to go by.
        assert len(unbound) == (1 if name == "dispatch/busy_queues" else 0), name


@pytest.mark.parametrize(
    "name", [f"dispatch/claim{which}" for which in ("", "_plain", "_new", "_next")]
)
async def test_claim_for_an_empty_queue_reads_none_of_a_tenants_flood_in_another(
    conn: Database, name: str
) -> None:
    user_id = await add_user(conn)
    await conn.execute(
        "INSERT INTO signalstack.jobs"
        " (user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload)"
        " SELECT %s, gen_random_uuid(), 'noop', 'default', 0, false, 3, now(), 'null'"
        " FROM generate_series(1, %s)",
        (user_id, ROWS),
    )
    await conn.execute("VACUUM ANALYZE signalstack.jobs")
    hot = _calls(str(await add_worker(conn)))[name]

    plan = await _explain(conn, name, hot, "ANALYZE, BUFFERS, FORMAT JSON")

    indexes = {node.get("Index Name") for node in _nodes(plan)}
    assert "jobs_pkey" not in indexes
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 3_000


async def _empty(conn: Database) -> None:
    """Leave what a worker finds after a busy day: empty tables, and indexes that have grown."""
    await _fill(conn, statistics="none")
    await conn.execute("VACUUM ANALYZE signalstack.jobs")
    await conn.execute("DELETE FROM signalstack.jobs")
    await conn.execute("VACUUM ANALYZE signalstack.jobs")


@pytest.mark.parametrize(
    "statistics", ["fresh", "of empty tables", "planned when empty", "planned when emptied"]
)
async def test_hot_queries_read_little_however_much_there_is(
    conn: Database, statistics: str
) -> None:
    worker = await add_worker(conn)
    calls = _calls(str(worker))
    if statistics.startswith("planned"):
        # As in a worker that was idle while autovacuum passed by: its plans stay as they are.
        await conn.execute("VACUUM ANALYZE signalstack.jobs")
        if statistics == "planned when emptied":
            await _empty(conn)
        for name, hot in calls.items():
            await _prepare(conn, name, hot)
            await _explain_prepared(conn, name, hot)
    await _fill(conn, statistics=statistics)
    blocks: dict[str, int] = {}

    # One transaction for all: psycopg forgets prepared statements with each ROLLBACK.
    await conn.execute("BEGIN")
    for name, hot in calls.items():
        if not statistics.startswith("planned"):
            await _prepare(conn, name, hot)
        plan = await _explain_prepared(conn, name, hot, "ANALYZE, BUFFERS, FORMAT JSON")
        blocks[name] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    # Blocks taken when this was written: 1,280 to claim 100, 1,500 to look for 500 outcomes, under
    # 10 for the other two; an index range that a volatile clock could not bound took 7,200.
    assert blocks["dispatch/claim"] < 2_000
    assert blocks["dispatch/claim_plain"] < 2_000
    assert blocks["dispatch/claim_new"] < 2_000
    assert blocks["dispatch/claim_next"] < 2_000
    assert blocks["dispatch/finish"] < 2_000
    assert blocks["dispatch/finish_at"] < 1_000
    assert blocks["dispatch/finish_one"] < 50
    assert blocks["dispatch/requeue"] < 2_000
    assert blocks["dispatch/promote"] < 50
    assert blocks["dispatch/busy_queues"] < 50


@pytest.mark.parametrize("statistics", ["fresh", "of empty tables"])
async def test_intake_never_reads_what_is_there(conn: Database, statistics: str) -> None:
    await _fill(conn, statistics=statistics)
    if statistics == "of empty tables":
        await conn.execute("VACUUM ANALYZE signalstack.idempotency")
    await conn.execute(_FILL_KEYS.format(rows=ROWS).encode())
    if statistics == "fresh":
        await conn.execute("VACUUM ANALYZE signalstack.idempotency")

    for name in _INTAKE:
        nodes = list(_nodes(await _explain(conn, name, _of_nothing(name))))
        assert "Seq Scan" not in {node["Node Type"] for node in nodes}, name
        indexes = {node.get("Index Name") for node in nodes} - {None}
        # Save for what a hand-over has to know, which its own tests hold to be little.
        host = {"invitations_pkey", "workers_pkey", "queues_pkey", "jobs_ready"}
        handed = name in {"intake/enqueue_one", "intake/accept_one"}
        assert indexes - {"users_pkey"} == (host if handed else set()), name


def _of_nothing(name: str) -> Hot:
    """Call a query of the intake with nulls, or empty arrays and a job that may be handed over."""
    parameters = len(set(re.findall(r"\$\d+", read(name))))
    one = "_one" in name
    arguments = ["NULL"] * parameters if one else [*[_array()] * (parameters - 1), "true"]
    return Hot(arguments=", ".join(arguments), indexes=set(), session=intake.SESSION)


@pytest.mark.parametrize("way", ["alone", "keyed", "others"])
@pytest.mark.parametrize("statistics", ["fresh", "of empty tables", "none"])
async def test_taking_an_invitation_reads_one_lane_by_its_index(
    conn: Database, statistics: str, way: str
) -> None:
    await _fill(conn, statistics=statistics)
    await _set(conn, intake.SESSION)
    await conn.execute(
        "INSERT INTO signalstack.invitations VALUES (%s, 'bell', '{}', 7, 1)",
        (await add_worker(conn),),
    )
    seen = "SELECT coalesce(seq_tup_read + idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
    async with connect(conn.info.dsn) as host, conn.transaction():
        await host.execute("SELECT pg_advisory_lock(7)")
        assert await take(conn, way, UUID(int=1)) is None  # others wait there
        assert await value(conn, f"{seen} WHERE relname = 'jobs'") == 200


@pytest.mark.parametrize(
    "invitation",
    [None, ("{}", 7, None), ("{mail}", 7, 1), ("{}", 8, 1)],
    ids=["none", "taken", "for another queue", "of a session that is gone"],
)
@pytest.mark.parametrize("way", ["alone", "keyed", "others"])
async def test_where_there_is_no_invitation_to_take_no_job_is_looked_at(
    conn: Database, way: str, invitation: tuple[object, ...] | None
) -> None:
    await _fill(conn, statistics="fresh")
    await _set(conn, intake.SESSION)
    if invitation is not None:
        insert = "INSERT INTO signalstack.invitations VALUES (%s, 'bell', %s, %s, %s)"
        await conn.execute(insert, (await add_worker(conn), *invitation))
    async with connect(conn.info.dsn) as host, conn.transaction():
        await host.execute("SELECT pg_advisory_lock(7)")
        assert await take(conn, way, UUID(int=1)) is None
        seen = "SELECT coalesce(seq_tup_read + idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
        assert await value(conn, f"{seen} WHERE relname = 'jobs'") == 0


@pytest.mark.parametrize("statistics", ["fresh", "none"])
async def test_freeing_slots_reads_the_queues_of_those_runs_alone(
    conn: Database, statistics: str
) -> None:
    tenant = await add_user(conn)
    await conn.execute(
        "INSERT INTO signalstack.queues (user_id, name, concurrency, running)"
        " SELECT %s, 'q' || n, 5, 5 FROM generate_series(1, 10000) AS n",
        (tenant,),
    )
    if statistics == "fresh":
        await conn.execute("VACUUM ANALYZE signalstack.queues")
    await _set(conn, dispatch.SESSION)
    seen = "SELECT coalesce(seq_tup_read + idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
    async with conn.transaction():
        free = "SELECT signalstack.free_slots(ARRAY[%s, %s], ARRAY['q7', 'q7'])"
        await conn.execute(free, (tenant, tenant))
        assert await value(conn, f"{seen} WHERE relname = 'queues'") < 10

    left = "SELECT running FROM signalstack.queues WHERE name = 'q7'"
    assert await value(conn, left) == 3


@pytest.mark.parametrize("statistics", ["fresh", "of empty tables", "none"])
async def test_what_a_lost_claim_leased_is_looked_for_in_the_order_of_the_table(
    conn: Database, statistics: str
) -> None:
    await _fill(conn, statistics=statistics)
    hot = Hot(arguments="'{7}'", indexes={"jobs_pkey"})

    nodes = list(_nodes(await _explain(conn, "dispatch/disown", hot)))

    assert [node["Alias"] for node in nodes if node["Node Type"] == "Seq Scan"] == ["j"]
    scans = [node for node in nodes if "Index Name" in node]
    assert {node["Index Name"] for node in scans} == hot.indexes
    assert all("Index Cond" in node for node in scans)


@pytest.mark.parametrize("statistics", ["fresh", "of empty tables", "none"])
async def test_a_queue_that_becomes_limited_is_read_once_before_any_run_is_locked(
    conn: Database, statistics: str
) -> None:
    await _fill(conn, statistics=statistics)
    filled = read("queues/mark").rstrip("; \n").replace("%(name)s", "'default'")
    filled = filled.replace("%(user_id)s", "'00000000-0000-0000-0000-000000000001'")

    (found,) = await value(conn, f"EXPLAIN (FORMAT JSON) {filled}")

    scans = [node for node in _nodes(found["Plan"]) if node.get("Relation Name") == "jobs"]
    whole = [node for node in scans if node.get("Index Name") != "jobs_pkey" and "Alias" in node]
    read_whole = [node["Alias"] for node in whole if "Scan" in node["Node Type"]]
    assert read_whole == ["j"]


async def test_rescue_reads_no_job_while_nobody_is_dead(conn: Database) -> None:
    await _fill(conn, statistics="fresh")
    await add_worker(conn)
    filled = read("maintenance/rescue").replace("%(orphans)s", "false").replace("%(error)s", "''")
    filled = filled.replace("%(limit)s", "2000")

    (found,) = await value(conn, f"EXPLAIN (ANALYZE, FORMAT JSON) {filled}")

    scans = [node for node in _nodes(found["Plan"]) if node.get("Relation Name") == "jobs"]
    assert scans
    assert all(node["Actual Loops"] == 0 for node in scans if "Scan" in node["Node Type"])


async def test_chores_take_their_batch_and_read_no_more(conn: Database) -> None:
    await conn.execute(_FILL_KEYS.format(rows=ROWS).encode())
    await conn.execute(_FILL_DELTAS.format(rows=ROWS).encode())
    await conn.execute("VACUUM ANALYZE signalstack.idempotency, signalstack.metrics_delta")
    blocks: dict[str, int] = {}

    for name in ("expire_idempotency", "roll_up"):
        filled = read(f"maintenance/{name}").replace("%(limit)s", "100")
        await conn.execute("BEGIN")
        (found,) = await value(conn, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {filled}")
        await conn.execute("ROLLBACK")
        plan = found["Plan"]
        blocks[name] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    # No key is over yet: nothing but the index's edge is looked at.
    assert blocks["expire_idempotency"] < 20
    assert blocks["roll_up"] < 1_500


async def test_look_up_of_a_version_needs_no_scan_of_tenants(conn: Database) -> None:
    await conn.execute(
        "INSERT INTO signalstack.users (id, name) "
        "SELECT gen_random_uuid(), n::text FROM generate_series(1, 5000) AS n"
    )
    await conn.execute("VACUUM ANALYZE signalstack.users")
    await add_user(conn, str(new_id()))

    nodes = list(_nodes(await _explain(conn, "intake/accept", _of_nothing("intake/accept"))))

    assert {n["Node Type"] for n in nodes if n.get("Relation Name") == "users"} == {"Index Scan"}
