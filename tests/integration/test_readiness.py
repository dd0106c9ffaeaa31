"""What `/ready` and the log say when PostgreSQL, the schema or LISTEN is not as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import psycopg
import pytest

from pooler import pgbouncer
from recording import RecordingObserver
from signalstack.core.errors import SchemaError
from signalstack.core.ids import new_id
from signalstack.core.job import Wake
from signalstack.core.stage import ListenerChanged, Started
from signalstack.store import listener as store
from signalstack.store import migrate
from signalstack.store.pool import Pool
from signalstack.usecases import readiness
from working import POLL_S, open_shop

if TYPE_CHECKING:
    from pathlib import Path

# A pooler hands on what is rung while a poll has the server connection that listens.
_UNRUNG = """
    INSERT INTO signalstack.jobs
        (user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload)
    VALUES (%s, %s, 'noop', 'default', 0, false, 3, now(), 'null')
"""


async def test_what_is_there_needs_no_reason(database_url: str) -> None:
    async with Pool(database_url, RecordingObserver()) as pool:
        assert await readiness.check_postgresql(pool, database_url) is None
        assert await readiness.check_schema(pool) is None
    assert readiness.describe_listener(None, poll_interval_s=5) is None


async def test_a_postgresql_that_is_away_is_told_from_a_schema_that_does_not_fit(
    tmp_path: Path, empty_database_url: str
) -> None:
    nowhere = f"postgresql://ada:s3cret@/x?host={tmp_path}"
    async with Pool(nowhere, RecordingObserver()) as away:
        reason = await readiness.check_postgresql(away, nowhere)
        unknown = await readiness.check_schema(away)
    async with Pool(empty_database_url, RecordingObserver()) as empty:
        there = await readiness.check_postgresql(empty, empty_database_url)
        misfit = await readiness.check_schema(empty)

    assert reason is not None
    assert reason.startswith("cannot connect to PostgreSQL: ")
    assert "s3cret" not in reason
    assert unknown == "not known, since PostgreSQL does not answer"
    assert there is None
    assert misfit is not None
    assert "signalstack migrate up" in misfit


async def test_a_schema_that_moves_on_under_a_running_process_leaves_it_ready(
    database_url: str,
) -> None:
    async with Pool(database_url, RecordingObserver()) as pool:
        async with pool.connection() as conn:
            await conn.execute(
                "INSERT INTO signalstack.migrations (version, name, checksum)"
                " VALUES (9999, 'to_come', 'of a newer build')"
            )
            with pytest.raises(SchemaError, match="update SignalStack"):
                await migrate.require_current(conn)

        assert await readiness.check_schema(pool) is None


async def test_a_pool_without_a_free_connection_is_no_postgresql_that_is_away(
    database_url: str,
) -> None:
    async with Pool(database_url, RecordingObserver(), max_size=1) as pool, pool.connection():
        reason = await readiness.check_postgresql(pool, database_url)

    assert reason is not None
    assert "DB_POOL_MAX" in reason


async def test_a_postgresql_that_lends_and_never_answers_is_not_there(database_url: str) -> None:
    with psycopg.connect(database_url) as holder:
        holder.execute("LOCK TABLE signalstack.migrations")
        async with Pool(database_url, RecordingObserver()) as pool:
            reason = await readiness.check_postgresql(pool, database_url)

    assert reason == "connected, and no answer: the server is overloaded, locked, or stands still"


async def test_a_worker_that_hears_nothing_polls_and_says_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PROBE_DEADLINE_S", 0.2)
    with pgbouncer(database_url) as pooled:
        async with open_shop(database_url) as shop:
            shop.dsn = pooled
            async with shop.worker({}, poll_interval_s=POLL_S) as crew:
                down = await crew.facts.seen(ListenerChanged, name="claim", up=False)
                job = new_id()
                await shop.rows(_UNRUNG, shop.user_id, job)
                await crew.ended(job)
                (run,) = crew.facts.facts(Started, job=job)
                fault = readiness.describe_listener(crew.worker.fault, poll_interval_s=POLL_S)

    assert "LISTEN_DATABASE_URL" in down.reason
    assert fault == f"polling every 0.2 s, since no notifications arrive: {down.reason}"
    assert run.wake is Wake.POLL


async def test_a_worker_whose_listener_is_cut_says_so_and_listens_again(database_url: str) -> None:
    async with open_shop(database_url) as shop, shop.worker({}) as crew:
        assert await shop.kill("claim") == 1
        await crew.facts.seen(ListenerChanged, name="claim", up=False)
        await crew.facts.seen(ListenerChanged, name="claim", up=True, count=2)
        with anyio.fail_after(5):
            job = await shop.enqueue("noop")
            await crew.ended(job)

        assert crew.worker.fault is None
