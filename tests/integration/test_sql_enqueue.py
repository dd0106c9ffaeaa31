"""`signalstack.enqueue(…)` in SQL: the job belongs to the caller's transaction."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from uuid import RFC_4122, UUID

import anyio
import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from hands import working
from receiver import receiver
from recording import RecordingObserver
from rows import Database, add_user, connect, rows, value
from signalstack.core.ids import id_time
from signalstack.core.job import Outcome
from signalstack.core.stage import Finished, Settled
from signalstack.handlers import webhook
from signalstack.handlers.outbound import open_outbound
from signalstack.telemetry.observer import Telemetry
from working import open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from signalstack.handlers.addressee import Endpoints

PATIENCE_S: Final = 10.0
PAGE: Final = Path(__file__).parents[2] / "docs/sql.md"
EXAMPLES: Final = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
WRONG: Final = [
    ("'nobody', 'noop'", "user 'nobody' does not exist or is suspended"),
    ("NULL, 'noop'", "user NULL does not exist"),
    ("'acme', ''", "type must have 1 to 100 characters"),
    ("'acme', NULL", "type must have 1 to 100 characters"),
    ("'acme', repeat('x', 101)", "type must have 1 to 100 characters"),
    ("'acme', 'noop', queue => 'nowhere'", "queue 'nowhere' does not exist"),
    ("'acme', 'noop', queue => NULL", "queue NULL does not exist"),
    ("'acme', 'send_message'", "send_message jobs wait in the queue 'messages' and in no other"),
    ("'acme', 'noop', queue => 'messages'", "the queue 'messages' is for send_message jobs"),
    ("'acme', 'send_message', queue => NULL", "queue NULL does not exist"),
    ("'acme', 'noop', priority => 1001", "priority must be"),
    ("'acme', 'noop', priority => NULL", "priority must be"),
    ("'acme', 'noop', max_attempts => 0", "max_attempts must be"),
    ("'acme', 'noop', timeout_s => 0", "timeout_s must be"),
    ("'acme', 'noop', timeout_s => 'NaN'", "timeout_s must be"),
    ("'acme', 'noop', run_at => 'infinity'", "run_at must be"),
    ("'acme', 'noop', run_at => '10000-01-01Z'", "run_at must be"),
    ("'acme', 'noop', idempotency_key => ''", "idempotency_key must be"),
    ("'acme', 'noop', idempotency_key => 'ä'", "idempotency_key must be"),
    ("'acme', 'noop', (repeat('[', 65) || repeat(']', 65))::jsonb", "64 deep"),
    ("'acme', 'noop', '{\"a\": [-1e400]}'", "range of doubles"),
    ("'acme', 'noop', to_jsonb(repeat('x', 262143))", "at most 262144 bytes"),
]


@pytest.fixture
async def conn(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        await add_user(conn)
        yield conn


async def test_a_committed_job_is_run_at_once(database_url: str, conn: Database) -> None:
    async with working(database_url) as seen:
        async with conn.transaction():
            job = await value(conn, "SELECT signalstack.enqueue('acme', 'noop', '{\"a\": 1}')")

        await seen.seen(Finished, job=job, outcome=Outcome.SUCCEEDED)
        await seen.seen(Settled, jobs=job)

    kept = await rows(
        conn, "SELECT id, status, payload, queue, max_attempts FROM signalstack.finished_jobs"
    )
    assert kept == [(job, "succeeded", {"a": 1}, "default", 3)]


async def test_an_unknown_type_fails_visibly(database_url: str, conn: Database) -> None:
    async with working(database_url) as seen:
        job = await value(conn, "SELECT signalstack.enqueue('acme', 'nonsense', max_attempts => 1)")
        await seen.seen(Settled, jobs=job)

    error = await value(conn, "SELECT last_error FROM signalstack.finished_jobs")
    assert "no handler for the job type 'nonsense'" in error


async def test_what_is_rolled_back_never_was(conn: Database) -> None:
    async with conn.transaction(force_rollback=True):
        await conn.execute("SELECT signalstack.enqueue('acme', 'noop', idempotency_key => 'k-1')")

    assert not await rows(conn, "SELECT FROM signalstack.jobs")
    assert not await rows(conn, "SELECT FROM signalstack.idempotency")
    assert not await rows(conn, "SELECT FROM signalstack.metrics_delta")


async def test_a_job_for_later_waits(database_url: str, conn: Database) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    async with connect(database_url) as listening:
        await listening.execute("LISTEN signalstack_later")
        await conn.execute("SELECT signalstack.enqueue('acme', 'noop', run_at => %s)", (due,))
        with anyio.fail_after(PATIENCE_S):
            rung = await anext(listening.notifies())

    assert rung.payload == "default"
    kept = await rows(conn, "SELECT run_at, delayed, wake FROM signalstack.jobs")
    assert kept == [(due, True, "timer")]


async def test_every_option_is_kept_and_counted(conn: Database) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    await conn.execute(
        "SELECT signalstack.enqueue("
        "  user_name => 'acme', type => 'noop', payload => '[1]', queue => 'default',"
        "  priority => 7, run_at => '2001-01-01T00:00Z', max_attempts => 9, timeout_s => 1.5,"
        "  idempotency_key => 'k-1', traceparent => %s)",
        (trace,),
    )

    kept = await rows(
        conn,
        "SELECT payload, priority, delayed, run_at = created_at, max_attempts, timeout_s,"
        " idempotency_key, traceparent FROM signalstack.jobs",
    )
    assert kept == [([1], 7, False, True, 9, 1.5, "k-1", trace)]
    assert await value(conn, "SELECT sum(jobs_created) FROM signalstack.metrics_delta") == 1


class _Untraced(RecordingObserver):
    """Has the spans of a worker whose traces nobody collects."""

    def __init__(self) -> None:
        super().__init__()
        self.span = Telemetry(version="1").span  # pyright: ignore[reportAttributeAccessIssue] - nobody looks at them


@pytest.mark.parametrize("trace", ["é", "a\nb: c", "\x7f"])
async def test_what_is_no_trace_context_holds_no_delivery_up(database_url: str, trace: str) -> None:
    facts = _Untraced()
    async with (
        open_shop(database_url) as shop,
        receiver() as here,
        open_outbound(timeout_s=5, allow_private=True) as outbound,
    ):
        # Endpoints are for deliveries that name one.
        deliver = webhook.build(
            outbound=outbound, observer=facts, endpoints=cast("Endpoints", None)
        )
        async with shop.worker({}, on_board=[deliver], facts=facts) as crew:
            (made,) = await shop.rows(
                "SELECT signalstack.enqueue('acme', 'send_webhook', traceparent => %s,"
                " payload => jsonb_build_object('url', %s::text, 'body', 1)) AS id",
                trace,
                here.url,
            )
            ended = await crew.ended(msgspec.convert(made["id"], UUID))

    assert (ended.outcome, ended.attempt) == (Outcome.SUCCEEDED, 1)
    assert "traceparent" not in here.requests[0].headers


async def test_ids_are_uuid7_and_in_order(conn: Database) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)

    found = await rows(conn, "SELECT signalstack.new_id() FROM generate_series(1, 2000)")

    ids = [msgspec.convert(row[0], UUID) for row in found]
    assert len(set(ids)) == len(ids)
    # The random part decides only between those of the same quarter of a microsecond.
    assert ids == sorted(ids, key=lambda each: each.int >> 64)
    assert {(each.version, each.variant) for each in ids} == {(7, RFC_4122)}
    assert before < id_time(ids[0]) <= id_time(ids[-1]) < datetime.now(UTC) + timedelta(seconds=1)


async def test_the_same_key_and_words_are_the_same_job(conn: Database) -> None:
    call = "SELECT signalstack.enqueue('acme', 'noop', %s, run_at => %s, idempotency_key => 'k-1')"

    first = await value(conn, call, '{"a": 1, "b": 2}', "2100-01-01T00:00Z")
    await conn.execute("SET TimeZone = 'Asia/Kathmandu'")
    second = await value(conn, call, '{"b": 2, "a": 1}', "2100-01-01T05:45+05:45")

    assert second == first
    assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 1
    assert await value(conn, "SELECT sum(jobs_created) FROM signalstack.metrics_delta") == 1
    with pytest.raises(psycopg.errors.UniqueViolation, match="was used for another job"):
        await value(conn, call, '{"a": 2, "b": 2}', "2100-01-01T00:00Z")


async def test_a_key_may_be_used_again_when_its_time_is_over(conn: Database) -> None:
    call = "SELECT signalstack.enqueue('acme', 'noop', %s, idempotency_key => 'k-1')"
    first = await value(conn, call, "1")
    await conn.execute("UPDATE signalstack.idempotency SET expires_at = now() - interval '1 s'")

    assert await value(conn, call, "2") != first


@pytest.mark.parametrize("commits", [True, False])
async def test_a_key_in_use_is_waited_for(
    database_url: str, conn: Database, *, commits: bool
) -> None:
    call = "SELECT signalstack.enqueue('acme', 'noop', idempotency_key => 'k-1')"
    found: list[UUID] = []
    await conn.execute("BEGIN")
    first = await value(conn, call)
    async with connect(database_url) as other, anyio.create_task_group() as tasks:

        async def enqueue() -> None:
            found.append(await value(other, call))

        tasks.start_soon(enqueue)
        await blocked(database_url, other)
        await conn.execute("COMMIT" if commits else "ROLLBACK")

    assert (found == [first]) is commits
    assert await rows(conn, "SELECT id FROM signalstack.jobs") == [(found[0],)]


async def test_what_is_wrong_is_said(conn: Database, subtests: pytest.Subtests) -> None:
    for arguments, said in WRONG:
        with (
            subtests.test(arguments),
            pytest.raises(psycopg.errors.InvalidParameterValue, match=said),
        ):
            await value(conn, f"SELECT signalstack.enqueue({arguments})")


async def test_a_suspended_tenant_enqueues_nothing(conn: Database) -> None:
    await conn.execute("UPDATE signalstack.users SET suspended_at = now()")

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="suspended"):
        await value(conn, "SELECT signalstack.enqueue('acme', 'noop')")


@pytest.mark.parametrize(
    "payload",
    [
        "(repeat('[', 64) || '1' || repeat(']', 64))::jsonb",
        "'1e308'",
        "to_jsonb(repeat('x', 262142))",
    ],
)
async def test_what_the_api_takes_is_taken(conn: Database, payload: str) -> None:
    assert await value(conn, f"SELECT signalstack.enqueue('acme', 'noop', {payload})")


async def test_a_payload_of_null_is_json_null(conn: Database) -> None:
    await conn.execute("SELECT signalstack.enqueue('acme', 'noop', NULL)")

    assert await value(conn, "SELECT payload::text FROM signalstack.jobs") == "null"


async def test_a_foreign_queue_does_not_exist(conn: Database) -> None:
    stranger = await add_user(conn, "other")
    await conn.execute(
        "INSERT INTO signalstack.queues (user_id, name) VALUES (%s, 'theirs')", (stranger,)
    )

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="queue 'theirs'"):
        await value(conn, "SELECT signalstack.enqueue('acme', 'noop', queue => 'theirs')")
    assert await value(conn, "SELECT signalstack.enqueue('other', 'noop', queue => 'theirs')")


async def test_the_documented_examples_run(conn: Database) -> None:
    await conn.execute("CREATE TABLE orders (id integer, total numeric)")
    await conn.execute("CREATE TABLE customers AS SELECT 'a@b.test' AS email, true AS wants_news")
    one, many, *_ = EXAMPLES

    await conn.execute(one.encode())
    await conn.execute(many.encode())

    kept = await rows(conn, "SELECT type, payload->>'to' FROM signalstack.jobs ORDER BY id")
    assert kept == [("process_payment", None), ("send_email", "a@b.test")]


async def test_the_documented_grants_are_enough(database_url: str, conn: Database) -> None:
    role = f"shop_{conn.info.dbname}"
    *_, grants, more = (re.sub(r"\bshop\b", role, example) for example in EXAMPLES)
    await conn.execute(grants.replace("LOGIN", "LOGIN PASSWORD 'shop'").encode())
    message = """SELECT signalstack.enqueue('acme', 'send_message',
        '{"phone_number": "+905551111111", "content": "hi"}', 'messages')"""
    try:
        async with connect(make_conninfo(database_url, user=role, password="shop")) as shop:
            call = "SELECT signalstack.enqueue('acme', 'noop', idempotency_key => 'k-1')"
            assert await value(shop, call) == await value(shop, call)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await shop.execute("SELECT payload FROM signalstack.jobs")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await value(shop, message)
            await conn.execute(more.encode())
            assert await value(shop, message)
    finally:
        await conn.execute(f"DROP OWNED BY {role}".encode())
        await conn.execute(f"DROP ROLE {role}".encode())


async def blocked(dsn: str, conn: Database) -> None:
    """Wait until a connection waits for another one's lock."""
    async with connect(dsn) as looking:
        with anyio.fail_after(PATIENCE_S):
            while not await value(
                looking, "SELECT pg_blocking_pids(%s) <> '{}'", conn.info.backend_pid
            ):
                await anyio.lowlevel.checkpoint()
