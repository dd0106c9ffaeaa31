from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import psycopg
import pytest
from anyio.lowlevel import checkpoint
from psycopg.conninfo import conninfo_to_dict

from contexts import Witness
from signalstack.core.errors import InvalidError, UnavailableError
from signalstack.core.stage import PoolSampled, Queried
from signalstack.store import query
from signalstack.store.outage import ContendedError
from signalstack.store.pool import Pool, connection_string, wait_for_database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from psycopg import AsyncConnection
    from psycopg.abc import ConnDict

    from signalstack.store.query import Connection

NOWHERE = "postgresql://someone:pa55word@127.0.0.1:1/nothing"


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with Pool(database_url, Witness(), max_size=3) as pool:
        yield pool


async def _scalar(conn: Connection, statement: str, **parameters: object) -> object:
    cursor = await query.run(conn, "test", statement, parameters)
    row = await cursor.fetchone()
    assert row is not None
    return next(iter(row.values()))


async def _terminate_all(dsn: str) -> None:
    """End every other connection to the database, and wait until they are gone."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
        await _terminate(admin, admin.info.dbname)


async def _terminate(admin: AsyncConnection, name: str) -> None:
    await admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = %s AND pid <> pg_backend_pid()",
        (name,),
    )


async def test_connections_carry_limits_and_a_name(pool: Pool) -> None:
    async with pool.connection() as conn:
        shown = [
            await _scalar(conn, f"SHOW {name}")
            for name in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "application_name",
            )
        ]

    assert shown == ["5s", "2s", "10s", "signalstack"]


async def test_transaction_is_committed_when_the_block_ends(pool: Pool) -> None:
    async with pool.transaction() as conn:
        await query.run(conn, "test", "CREATE TABLE kept (n integer)")

    async with pool.connection() as conn:
        assert await _scalar(conn, "SELECT count(*) FROM kept") == 0


async def test_transaction_is_undone_when_the_block_raises(pool: Pool) -> None:
    async def fail() -> None:
        async with pool.transaction() as conn:
            await query.run(conn, "test", "CREATE TABLE kept (n integer)")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()

    async with pool.connection() as conn:
        assert await _scalar(conn, "SELECT to_regclass('kept')::text") is None


async def test_transaction_is_undone_when_the_block_is_cancelled(database_url: str) -> None:
    async with Pool(database_url, Witness(), max_size=1) as pool:
        pid: object = None
        with anyio.CancelScope() as scope:
            async with pool.transaction() as conn:
                pid = await _scalar(conn, "SELECT pg_backend_pid()")
                await query.run(conn, "test", "CREATE TABLE kept (n integer)")
                scope.cancel()
                await checkpoint()

        async with pool.connection() as conn:
            assert await _scalar(conn, "SELECT to_regclass('kept')::text") is None
            assert await _scalar(conn, "SELECT pg_backend_pid()") == pid


async def test_swallowing_a_failed_statement_does_not_look_committed(pool: Pool) -> None:
    async def swallow() -> None:
        async with pool.transaction() as conn:
            with pytest.raises(psycopg.errors.DivisionByZero):
                await query.run(conn, "test", "SELECT 1 / 0")

    with pytest.raises(RuntimeError, match="went on after"):
        await swallow()


async def test_cancelled_statement_runs_to_its_end_and_leaves_the_connection_usable(
    pool: Pool, database_url: str
) -> None:
    admin = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    async with admin, pool.connection() as conn:
        before = await _scalar(conn, "SELECT pg_backend_pid()")
        await admin.execute("SELECT pg_advisory_lock(7)")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(query.run, conn, "test", "SELECT pg_advisory_xact_lock(7)")
            await _until_waiting(admin, before)
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await admin.execute("SELECT pg_advisory_unlock(7)")

        assert await _scalar(conn, "SELECT pg_backend_pid()") == before


async def _until_waiting(admin: AsyncConnection, pid: object) -> None:
    with anyio.fail_after(5):
        while True:
            found = await admin.execute(
                "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'",
                (pid,),
            )
            if await found.fetchone():
                return


async def test_slow_statement_is_unavailable(database_url: str) -> None:
    async with (
        Pool(database_url, Witness(), statement_timeout_s=0.05) as pool,
        pool.connection() as conn,
    ):
        with pytest.raises(UnavailableError, match="took too long"):
            await query.run(conn, "test", "SELECT pg_sleep(5)")

        assert await _scalar(conn, "SELECT 1") == 1


async def test_statement_that_nobody_ends_is_given_up_at_the_deadline(pool: Pool) -> None:
    async with pool.connection() as conn:
        conn.deadline_s = 0.05
        with anyio.fail_after(3), pytest.raises(UnavailableError, match="in time"):
            await query.run(conn, "test", "SELECT pg_sleep(4)")

    async with pool.connection() as conn:
        assert await _scalar(conn, "SELECT 1") == 1


async def test_locked_row_is_unavailable_after_the_lock_timeout(database_url: str) -> None:
    async with (
        Pool(database_url, Witness(), lock_timeout_s=0.05) as pool,
        pool.transaction() as one,
        pool.connection() as other,
    ):
        await query.run(one, "test", "SELECT pg_advisory_xact_lock(7)")
        with pytest.raises(UnavailableError, match="took too long"):
            await query.run(other, "test", "SELECT pg_advisory_xact_lock(7)")


async def test_exhausted_pool_is_unavailable(database_url: str) -> None:
    async with (
        Pool(database_url, Witness(), max_size=1, acquire_timeout_s=0.2) as pool,
        pool.connection(),
    ):
        with pytest.raises(UnavailableError):
            await pool.connection().__aenter__()


async def test_who_would_wait_behind_too_many_is_refused_at_once(database_url: str) -> None:
    async with (
        Pool(database_url, Witness(), max_size=1, acquire_timeout_s=30, max_waiting=1) as pool,
        pool.connection(),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(pool.connection().__aenter__)
        await checkpoint()
        with anyio.fail_after(5), pytest.raises(UnavailableError):
            await pool.connection().__aenter__()
        tasks.cancel_scope.cancel()


async def test_connection_lost_in_a_statement_is_unavailable_and_replaced(pool: Pool) -> None:
    async def lose() -> None:
        async with pool.transaction() as conn:
            await query.run(conn, "test", "SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(UnavailableError, match="cannot be reached"):
        await lose()

    async with pool.connection() as conn:
        assert await _scalar(conn, "SELECT 1") == 1


async def test_idle_connections_that_died_are_never_lent(
    database_url: str, subtests: pytest.Subtests
) -> None:
    async with Pool(database_url, Witness(), min_size=5, max_size=5) as pool:
        for _ in range(5):
            async with pool.connection() as conn:
                await _scalar(conn, "SELECT 1")
        await _terminate_all(database_url)

        with anyio.fail_after(3):
            for number in range(6):
                with subtests.test(str(number)):
                    async with pool.connection() as conn:
                        assert await _scalar(conn, "SELECT 1") == 1


async def test_pool_finds_a_database_that_came_back(database_url: str, postgres: str) -> None:
    name = conninfo_to_dict(database_url)["dbname"]
    admin = await psycopg.AsyncConnection.connect(postgres, autocommit=True)
    async with admin, Pool(database_url, Witness(), acquire_timeout_s=0.1) as pool:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        await _terminate(admin, str(name))
        with pytest.raises(UnavailableError):
            await pool.connection().__aenter__()
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())

        with anyio.fail_after(5):
            while not await _is_served(pool):
                pass


async def _is_served(pool: Pool) -> bool:
    try:
        async with pool.connection() as conn:
            return await _scalar(conn, "SELECT 1") == 1
    except UnavailableError:
        return False


async def test_commit_on_a_lost_connection_is_unavailable(pool: Pool, database_url: str) -> None:
    async def lose() -> None:
        async with pool.transaction() as conn:
            await query.run(conn, "test", "CREATE TABLE kept (n integer)")
            await _terminate_all(database_url)

    with pytest.raises(UnavailableError):
        await lose()


async def test_lost_against_another_transaction_is_tried_again(
    pool: Pool, database_url: str
) -> None:
    admin = await psycopg.AsyncConnection.connect(database_url)
    tries = 0

    async def work() -> object:
        nonlocal tries
        tries += 1
        async with pool.transaction() as conn:
            await query.run(conn, "test", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await query.run(conn, "test", "SELECT count(*) FROM signalstack.queues")
            if tries == 1:
                await admin.execute("UPDATE signalstack.queues SET paused = true")
                await admin.commit()
            await query.run(conn, "test", "UPDATE signalstack.queues SET paused = false")
            return await _scalar(conn, "SELECT paused FROM signalstack.queues")

    async with admin:
        assert await query.retry_serialization(work) is False

    assert tries == 2


async def test_lost_every_time_is_unavailable() -> None:
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        raise ContendedError("lost")

    with pytest.raises(UnavailableError):
        await query.retry_serialization(work, tries=3)

    assert tries == 3


async def test_observer_hears_of_statements_and_of_lent_connections(database_url: str) -> None:
    witness = Witness()
    async with Pool(database_url, witness) as pool, pool.transaction() as conn:
        await query.run(conn, "one", "SELECT 1")

    names = [fact.query for fact in witness.facts if isinstance(fact, Queried)]
    assert [name for name in names if "/" not in name] == ["begin", "one", "commit"]
    samples = [fact for fact in witness.facts if isinstance(fact, PoolSampled)]
    assert [sample.used for sample in samples] == [1, 0]


async def test_nul_in_a_text_is_the_callers_fault(pool: Pool) -> None:
    async with pool.connection() as conn:
        with pytest.raises(InvalidError, match="NUL"):
            await query.run(conn, "test", "SELECT %(a)s::text", {"a": "a\0b"})
        with pytest.raises(InvalidError, match="NUL"):
            await query.run(conn, "test", "SELECT %(a)s::jsonb", {"a": '"\\u0000"'})


async def test_waiting_for_a_database_that_is_there_returns(database_url: str) -> None:
    await wait_for_database(database_url, retries=1, delay_s=0)


async def test_waiting_in_vain_says_where_and_why_but_no_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        caplog.at_level(logging.WARNING, "signalstack.store"),
        pytest.raises(UnavailableError) as raised,
    ):
        await wait_for_database(NOWHERE, retries=3, delay_s=0)

    told = str(raised.value)
    assert "127.0.0.1, port 1," in told
    assert "refused" in told
    lines = [vars(record)["fields"] for record in caplog.records if record.msg == "database_away"]
    assert [(line["attempt"], line["of"]) for line in lines] == [(1, 3), (2, 3), (3, 3)]
    assert "pa55word" not in told + str(lines)


def test_what_a_dsn_says_itself_stays() -> None:
    completed = connection_string("postgresql:///x?keepalives_idle=9&application_name=mine", "n")

    assert "keepalives_idle=9" in completed
    assert "application_name=mine" in completed
    assert "tcp_user_timeout=3000" in completed
    assert "options" not in completed


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs Debian's pgbouncer")
async def test_pooler_in_transaction_mode_is_found_out_and_worked_with(database_url: str) -> None:
    async with _pgbouncer(database_url) as pooled, Pool(pooled, Witness(), max_size=4) as pool:
        for _ in range(10):  # past psycopg's threshold for preparing a statement
            async with pool.transaction() as conn:
                assert await _scalar(conn, "SELECT %(n)s::integer", n=3) == 3

        async with pool.connection() as conn:
            assert conn.prepare_threshold is None
            # The server connection is lent to others too: it has kept nothing of ours.
            assert await _scalar(conn, "SHOW statement_timeout") == "0"
            assert await _scalar(conn, "SELECT count(*) FROM pg_prepared_statements") == 0


@asynccontextmanager
async def _pgbouncer(dsn: str) -> AsyncGenerator[str]:
    """Run PgBouncer in transaction mode, one server connection for all, before a database."""
    given, port = conninfo_to_dict(dsn), _free_port()
    command = ["pgbouncer", "-q"]
    if os.getuid() == 0:
        command += ["-u", _owner_of_socket(given)]
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        command.append(_write_config(Path(folder), given, port))
        async with await anyio.open_process(command, stdout=None, stderr=None) as process:
            pooled = f"postgresql://{given['user']}@127.0.0.1:{port}/db"
            try:
                await wait_for_database(pooled, retries=50, delay_s=0.1)
                yield pooled
            finally:
                process.terminate()


def _write_config(folder: Path, given: ConnDict, port: int) -> str:
    names = ("host", "port", "dbname", "user")
    target = " ".join(f"{name}={given[name]}" for name in names if name in given)
    folder.chmod(0o755)
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\ndb = {target}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        "unix_socket_dir =\npool_mode = transaction\ndefault_pool_size = 1\n"
    )
    return str(config)


def _owner_of_socket(given: ConnDict) -> str:
    # PgBouncer refuses to be root, and an embedded server's socket lets only its owner in.
    host = Path(str(given.get("host")))
    return host.owner() if host.is_absolute() else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
