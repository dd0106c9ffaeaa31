"""The doctor against real servers: a healthy one, and one fault at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import msgspec
import psycopg
import pytest
from psycopg import sql

from contexts import Witness
from pooler import pgbouncer
from signalstack import settings as environment
from signalstack.core.errors import SettingsError
from signalstack.doctor import checkup, judgement
from signalstack.doctor.finding import Finding, Verdict
from signalstack.store import embedded, examination, migrate
from signalstack.store.examination import OpenTransaction, Rights, Server, Table
from signalstack.store.query import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOUND = Server(
    number=160_004,
    version="16.4",
    encoding="UTF8",
    fsync=True,
    full_page_writes=True,
    synchronous_commit="on",
    autovacuum=True,
    statement_timeout_s=0,
    idle_session_timeout_s=0,
    connections=97,
    connected=5,
    role_connections=-1,
    database_connections=-1,
    notify_queue=0,
)
FREE = Rights(role="app", make_schema=True, enter=True, make_tables=True)


async def examine(dsn: str, direct: str | None = None, **more: str) -> dict[str, Finding]:
    """Examine, and give what is wrong by the name of its check."""
    given = {"DATABASE_URL": dsn, **more} | ({"LISTEN_DATABASE_URL": direct} if direct else {})
    findings = await checkup.examine(environment.load(given))
    return {found.check: found for found in findings if found.verdict is not Verdict.OK}


async def test_a_sound_database_has_no_fault(data_dir: Path) -> None:
    async with embedded.run(data_dir) as server:
        await migrate.up(server.dsn)

        assert await examine(server.dsn) == {}


async def test_settings_that_lose_work_are_named(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        name = sql.Identifier(conn.info.dbname)
        conn.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        conn.execute(sql.SQL("ALTER DATABASE {} SET idle_session_timeout = 60000").format(name))

    found = await examine(database_url)

    assert "synchronous_commit" in found["durability"].says
    assert "idle_session_timeout is 60 s" in found["timeouts"].says


async def test_a_database_without_our_schema_is_told_the_command(empty_database_url: str) -> None:
    found = await examine(empty_database_url)

    assert found["schema"].verdict is Verdict.FAULT
    assert "signalstack migrate up" in found["schema"].says
    assert "privileges" not in found


async def test_an_edited_migration_is_a_fault(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE signalstack.migrations SET checksum = 'other' WHERE version = 1")

    assert "was changed after" in (await examine(database_url))["schema"].says


async def test_a_newer_schema_is_a_fault(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "INSERT INTO signalstack.migrations (version, name, checksum) VALUES (9999, 'n', 'n')"
        )

    assert "update SignalStack" in (await examine(database_url))["schema"].says


async def test_nobody_there_is_a_fault_and_no_password_is_shown() -> None:
    found = await examine("postgresql://u:hush@127.0.0.1:1/n")

    assert found["connection"].verdict is Verdict.FAULT
    assert "cannot be reached" in found["connection"].says
    assert "hush" not in found["connection"].says


async def test_without_a_database_url_there_is_nothing_to_examine() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        await checkup.examine(environment.load({}))


async def test_listening_to_another_database_is_a_fault(
    database_url: str, empty_database_url: str
) -> None:
    found = await examine(database_url, empty_database_url)

    assert "another database" in found["connection"].says


async def test_a_pooler_in_transaction_mode_is_found_out(database_url: str) -> None:
    with pgbouncer(database_url) as pooled:
        through = await examine(pooled)
        around = await examine(pooled, database_url)

    assert through["listen"].verdict is Verdict.FAULT
    assert "set LISTEN_DATABASE_URL" in through["listen"].says
    assert "listen" not in around
    assert "connection" not in around


async def test_too_few_connections_are_a_fault(database_url: str) -> None:
    found = await examine(database_url, DB_POOL_MAX="5000")

    assert "lower DB_POOL_MAX" in found["connections"].says


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """Give the name of a role that may log in and nothing more."""
    name = f"signalstack_test_{os.urandom(4).hex()}"
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(name)))
        try:
            yield name
        finally:
            conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


async def test_a_role_without_privileges_is_told_what_to_grant(
    database_url: str, role: str
) -> None:
    mine = acting_as(role, database_url)
    with psycopg.connect(database_url, autocommit=True) as conn:
        to = sql.Identifier(role)

        closed = await examine(mine)
        conn.execute(sql.SQL("GRANT USAGE ON SCHEMA signalstack TO {}").format(to))
        reading = sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA signalstack TO {}")
        conn.execute(reading.format(to))
        half = await checkup.examine(environment.load({"DATABASE_URL": mine}))

    assert f'GRANT USAGE ON SCHEMA signalstack TO "{role}"' in closed["privileges"].says
    assert "schema" not in closed
    said = [found.says for found in half if found.check == "privileges"]
    assert any("lacks INSERT, UPDATE, DELETE on signalstack.jobs" in each for each in said)
    assert any("can make no partitions" in each for each in said)
    assert not any("signalstack.migrations" in each for each in said)


async def test_a_role_that_cannot_make_the_schema_is_told_so(
    empty_database_url: str, role: str
) -> None:
    found = await examine(acting_as(role, empty_database_url))

    assert "GRANT CREATE ON DATABASE" in found["privileges"].says


async def test_a_transaction_that_is_open_is_found(database_url: str) -> None:
    with psycopg.connect(database_url, application_name="forgotten") as forgotten:
        forgotten.execute("SELECT 1")
        async with examination.connect(database_url, Witness()) as conn:
            oldest = await examination.find_oldest_transaction(conn)

    assert oldest is not None
    assert "(forgotten)" in oldest.holder
    assert judgement.judge_transaction(oldest).verdict is Verdict.OK
    late = judgement.judge_transaction(OpenTransaction(holder="process 1", age_s=3600))
    assert late.verdict is Verdict.WARNING
    assert "60 minutes (process 1)" in late.says


def test_an_autovacuum_worker_is_not_named_as_what_to_end(database_url: str) -> None:
    # None can be kept at work for a test, so a copy of the activity says that this one is.
    query = read("doctor/oldest_transaction")
    copied = query.replace("pg_catalog.pg_stat_activity", "pg_temp.activity")
    with (
        psycopg.connect(database_url, application_name="forgotten") as forgotten,
        psycopg.connect(database_url, autocommit=True) as conn,
    ):
        forgotten.execute("SELECT 1")
        conn.execute("CREATE TEMP TABLE activity AS SELECT * FROM pg_catalog.pg_stat_activity")
        open_one = conn.execute(copied.encode()).fetchone()
        conn.execute(
            "UPDATE activity SET backend_type = 'autovacuum worker'"
            " WHERE application_name = 'forgotten'"
        )
        none = conn.execute(copied.encode()).fetchone()

    assert "(forgotten)" in str(open_one)
    assert none is None


async def test_the_clock_is_compared(database_url: str) -> None:
    async with examination.connect(database_url, Witness()) as conn:
        ahead_s = await examination.measure_clock(conn)

    assert abs(ahead_s) < 0.5
    assert judgement.judge_clock(ahead_s).verdict is Verdict.OK
    assert "2.0 s behind" in judgement.judge_clock(2).says
    assert "2.0 s ahead of" in judgement.judge_clock(-2).says
    assert judgement.judge_clock(-2).verdict is Verdict.FAULT


@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        ({"number": 130_000, "version": "13.9"}, "version", "13.9 is too old: 14 or newer"),
        ({"fsync": False}, "durability", "fsync is off"),
        ({"full_page_writes": False, "fsync": False}, "durability", "full_page_writes are off"),
        ({"autovacuum": False}, "autovacuum", "set both to on"),
        ({"encoding": "LATIN1"}, "encoding", "ENCODING 'UTF8'"),
        ({"statement_timeout_s": 0.5}, "timeouts", "statement_timeout is 500 ms"),
        ({"role_connections": 3}, "connections", "the role's CONNECTION LIMIT is 3"),
        ({"notify_queue": 0.6}, "notify queue", "60% full"),
    ],
)
def test_a_fault_has_its_sentence(change: dict[str, object], check: str, says: str) -> None:
    server = msgspec.structs.replace(SOUND, **change)

    faults = [
        found
        for found in judgement.judge_server(server, pool=6, api=1, worker=6)
        if found.verdict is Verdict.FAULT
    ]

    assert [found.check for found in faults] == [check]
    assert says in faults[0].says


@pytest.mark.parametrize(
    ("change", "check"),
    [({"connected": 96}, "connections"), ({"notify_queue": 0.2}, "notify queue")],
)
def test_what_may_become_a_fault_is_a_warning(change: dict[str, object], check: str) -> None:
    server = msgspec.structs.replace(SOUND, **change)

    findings = judgement.judge_server(server, pool=6, api=1, worker=6)

    assert [(f.check, f.verdict) for f in findings if f.verdict is not Verdict.OK] == [
        (check, Verdict.WARNING)
    ]


def test_a_role_that_does_not_own_the_tables_can_make_no_partitions() -> None:
    rights = msgspec.structs.replace(FREE, make_tables=False)

    (found,) = judgement.judge_rights(rights, [Table(name="events", missing=[], unowned=True)])

    assert "GRANT CREATE ON SCHEMA signalstack" in found.says
    assert judgement.judge_rights(FREE, [])[0].verdict is Verdict.OK


def acting_as(role: str, dsn: str) -> str:
    """Make the DSN of a role: by its login, or over the embedded socket, which trusts everybody."""
    parts = urlsplit(dsn)
    at = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(role)}:p@{at}").geturl()
