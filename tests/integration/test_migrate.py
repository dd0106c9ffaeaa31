"""Migrations: whole or not at all, once each, and never unnoticed when they change."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

from signalstack.core.errors import SchemaError, UnavailableError
from signalstack.store import migrate, schema
from signalstack.store.sqlfiles import sql_root

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

MIGRATOR: Final = """
import sys, anyio
from functools import partial
from pathlib import Path
from signalstack.store import migrate
anyio.run(partial(migrate.up, sys.argv[1], folder=Path(sys.argv[2])))
"""
# Its first statement is committed before the second one begins, so a listener hears that it runs.
ENDLESS: Final = "-- no transaction\nNOTIFY began; SELECT pg_sleep(600);"


@pytest.fixture
async def conn(empty_database_url: str) -> AsyncGenerator[AsyncConnection]:
    async with await AsyncConnection.connect(empty_database_url, autocommit=True) as conn:
        yield conn


async def test_up_down_up_leaves_the_same_schema(empty_database_url: str) -> None:
    applied = await migrate.up(empty_database_url)
    before = await schema.dump(empty_database_url)

    reverted = await migrate.down(empty_database_url, steps=len(applied))
    nothing = await schema.dump(empty_database_url)
    again = await migrate.up(empty_database_url)

    assert reverted == applied[::-1]
    assert again == applied
    assert nothing.count("CREATE") == 2  # the schema, and the table of migrations
    assert await schema.dump(empty_database_url) == before


def test_no_migration_was_edited_after_it_landed() -> None:
    folder = sql_root() / "migrations"
    landed = [line.split() for line in (folder / "landed.sha256").read_text().splitlines()]
    there = [[each.checksum, each.up.name] for each in migrate.known(folder)]

    assert there[: len(landed)] == landed, "databases have it: restore it, and write a new one"


async def test_the_committed_schema_is_what_the_migrations_make(database_url: str) -> None:
    committed = (sql_root() / "schema.sql").read_text()

    assert await schema.dump(database_url) == committed, "run `make schema`"


async def test_up_again_has_nothing_to_do(empty_database_url: str) -> None:
    await migrate.up(empty_database_url)

    assert await migrate.up(empty_database_url) == []
    assert await migrate.down(empty_database_url, steps=0) == []


async def test_up_makes_the_partitions_of_today_and_three_days_on(
    empty_database_url: str, conn: AsyncConnection
) -> None:
    await migrate.up(empty_database_url)

    cursor = await conn.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'signalstack.events'::regclass"
    )
    assert await cursor.fetchone() == (1 + 4,)


async def test_a_partition_takes_over_which_statistics_its_table_keeps(database_url: str) -> None:
    async with await AsyncConnection.connect(database_url) as conn:
        cursor = await conn.execute(
            "SELECT p.attname, count(*) FILTER (WHERE c.attstattarget IS DISTINCT FROM 0) "
            "FROM pg_inherits JOIN pg_attribute AS p ON p.attrelid = inhparent AND p.attnum > 0 "
            "JOIN pg_attribute AS c ON c.attrelid = inhrelid AND c.attname = p.attname "
            "WHERE inhparent = 'signalstack.finished_jobs'::regclass AND p.attstattarget = 0 "
            "GROUP BY 1"
        )
        kept = dict(await cursor.fetchall())

    assert kept["payload"] == 0
    assert not any(kept.values())


async def test_up_waits_for_no_table_that_is_held(
    empty_database_url: str, conn: AsyncConnection
) -> None:
    await migrate.up(empty_database_url)
    made = await conn.execute(
        "SELECT format('DROP TABLE %s', inhrelid::regclass) FROM pg_inherits "
        "WHERE inhparent IN ('signalstack.events'::regclass, 'signalstack.attempts'::regclass) "
        "AND inhrelid::regclass::text NOT LIKE '%default'"
    )
    for (drop,) in await made.fetchall():
        await conn.execute(drop.encode())
    async with await AsyncConnection.connect(empty_database_url) as holder:
        await holder.execute("LOCK TABLE ONLY signalstack.events IN SHARE UPDATE EXCLUSIVE MODE")
        with anyio.fail_after(30):
            assert await migrate.up(empty_database_url) == []
        await holder.rollback()

    left = await conn.execute(
        "SELECT count(*) FILTER (WHERE inhparent = 'signalstack.attempts'::regclass), "
        "count(*) FILTER (WHERE inhparent = 'signalstack.events'::regclass) FROM pg_inherits"
    )
    assert await left.fetchone() == (5, 1)


async def test_version_tells_where_a_database_stands(
    empty_database_url: str, tmp_path: Path
) -> None:
    write(tmp_path, "one", "CREATE TABLE signalstack.one ()")
    write(tmp_path, "two", "CREATE TABLE signalstack.two ()")
    before = await migrate.version(empty_database_url, folder=tmp_path)

    await migrate.up(empty_database_url, to=1, folder=tmp_path)
    after = await migrate.version(empty_database_url, folder=tmp_path)

    assert (before.current, before.latest) == (0, 2)
    assert (after.current, after.latest) == (1, 2)
    assert [each.name for each in after.pending] == ["two"]
    assert after.unknown == ()


async def test_times_are_read_whatever_their_style(empty_database_url: str) -> None:
    german = make_conninfo(empty_database_url, options="-c DateStyle=German")

    applied = await migrate.up(german)

    assert (await migrate.version(german)).current == len(applied)


async def test_a_version_that_is_not_there_is_refused(
    empty_database_url: str, tmp_path: Path
) -> None:
    with pytest.raises(SchemaError, match="no version 7"):
        await migrate.up(empty_database_url, to=7, folder=tmp_path)


async def test_current_is_required(
    empty_database_url: str, conn: AsyncConnection, tmp_path: Path
) -> None:
    write(tmp_path, "one", "CREATE TABLE signalstack.one ()")
    write(tmp_path, "two", "CREATE TABLE signalstack.two ()")
    migrations = migrate.known(tmp_path)

    with pytest.raises(SchemaError, match="no schema of SignalStack: run `signalstack migrate up`"):
        await migrate.require_current(conn)
    await migrate.up(empty_database_url, to=1, folder=tmp_path)
    with pytest.raises(SchemaError, match=r"version 1, .* needs 2: run `signalstack migrate up`"):
        await migrate.require_current(conn, migrations)
    await migrate.up(empty_database_url, folder=tmp_path)
    await migrate.require_current(conn, migrations)
    with pytest.raises(SchemaError, match=r"version 2, .* knows 1: update SignalStack"):
        await migrate.require_current(conn, migrations[:1])
    await migrate.require_current(conn, migrations[:1], or_newer=True)
    await migrate.down(empty_database_url, folder=tmp_path)
    with pytest.raises(SchemaError, match=r"version 1, .* needs 2"):
        await migrate.require_current(conn, migrations, or_newer=True)


async def test_a_database_ahead_of_the_build_is_left_alone(
    empty_database_url: str, tmp_path: Path
) -> None:
    write(tmp_path, "one", "CREATE TABLE signalstack.one ()")
    await migrate.up(empty_database_url, folder=tmp_path)
    older_build = tmp_path / "older"
    await anyio.Path(older_build).mkdir()

    with pytest.raises(SchemaError, match="update SignalStack"):
        await migrate.up(empty_database_url, folder=older_build)
    with pytest.raises(SchemaError, match="update SignalStack"):
        await migrate.down(empty_database_url, folder=older_build)


async def test_an_edited_file_is_noticed(empty_database_url: str, tmp_path: Path) -> None:
    path = write(tmp_path, "one", "CREATE TABLE signalstack.one ()")
    await migrate.up(empty_database_url, folder=tmp_path)
    write(tmp_path, "one", "CREATE TABLE signalstack.one (a integer)", number=1)

    for look in (migrate.version, migrate.up, migrate.down):
        with pytest.raises(SchemaError, match=f"{path} was changed after"):
            await look(empty_database_url, folder=tmp_path)


async def test_a_failing_migration_leaves_nothing(
    empty_database_url: str, conn: AsyncConnection, tmp_path: Path
) -> None:
    write(tmp_path, "one", "CREATE TABLE signalstack.one (); SELECT 1/0")

    with pytest.raises(SchemaError, match=r"0001_one.up.sql failed: division by zero.*Nothing"):
        await migrate.up(empty_database_url, folder=tmp_path)

    assert not await exists(conn, "signalstack.one")
    assert (await migrate.version(empty_database_url, folder=tmp_path)).current == 0


async def test_without_a_transaction_an_index_is_built_concurrently_and_can_be_repeated(
    empty_database_url: str, conn: AsyncConnection, tmp_path: Path
) -> None:
    write(tmp_path, "one", "CREATE TABLE signalstack.one (a) AS VALUES (1), (1)")
    write(
        tmp_path,
        "index",
        "-- no transaction\n"
        "DROP INDEX CONCURRENTLY IF EXISTS signalstack.one_a;\n"
        "CREATE UNIQUE INDEX CONCURRENTLY one_a ON signalstack.one (a);\n",
        "-- no transaction\nDROP INDEX CONCURRENTLY signalstack.one_a;",
    )

    with pytest.raises(SchemaError, match=r"before it were kept.*run `signalstack migrate up`"):
        await migrate.up(empty_database_url, folder=tmp_path)
    assert await exists(conn, "signalstack.one_a")  # invalid, as PostgreSQL leaves it
    await conn.execute("TRUNCATE signalstack.one")
    applied = await migrate.up(empty_database_url, folder=tmp_path)

    assert [each.name for each in applied] == ["index"]
    await migrate.down(empty_database_url, folder=tmp_path)
    assert not await exists(conn, "signalstack.one_a")


async def test_of_four_that_start_at_once_one_applies_and_the_others_wait(
    empty_database_url: str, tmp_path: Path
) -> None:
    # Building concurrently waits for all snapshots: also for those of migrators that wait, if any.
    write(tmp_path, "one", "CREATE TABLE signalstack.one (a integer)")
    write(tmp_path, "two", "-- no transaction\nCREATE INDEX CONCURRENTLY ON signalstack.one (a)")
    applied: list[list[int]] = []

    async def migrator() -> None:
        done = await migrate.up(empty_database_url, folder=tmp_path)
        applied.append([each.version for each in done])

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(migrator)

    assert sorted(applied) == [[], [], [], [1, 2]]


async def test_a_killed_migrator_leaves_no_lock(
    empty_database_url: str, conn: AsyncConnection, tmp_path: Path
) -> None:
    write(tmp_path, "endless", ENDLESS)
    await conn.execute("LISTEN began")
    command = [sys.executable, "-c", MIGRATOR, empty_database_url, str(tmp_path)]
    async with await anyio.open_process(command, stdout=None, stderr=None) as process:
        await anext(conn.notifies())
        process.send_signal(signal.SIGKILL)
    write(tmp_path, "endless", "SELECT 1", number=1)

    with anyio.fail_after(20):
        applied = await migrate.up(empty_database_url, folder=tmp_path)

    assert [each.name for each in applied] == ["endless"]


async def test_a_cancelled_migrator_ends_its_statement_and_leaves_no_lock(
    empty_database_url: str, conn: AsyncConnection, tmp_path: Path
) -> None:
    write(tmp_path, "endless", ENDLESS)
    await conn.execute("LISTEN began")

    async def migrator() -> None:
        await migrate.up(empty_database_url, folder=tmp_path)

    async with anyio.create_task_group() as group:
        group.start_soon(migrator)
        await anext(conn.notifies())
        group.cancel_scope.cancel()

    cursor = await conn.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE '%pg_sleep(600)' AND state = 'active'"
    )
    assert await cursor.fetchone() == (0,)
    write(tmp_path, "endless", "SELECT 1", number=1)
    with anyio.fail_after(5):
        assert await migrate.up(empty_database_url, folder=tmp_path)


async def test_a_role_without_rights_on_the_database_migrates_a_schema_of_its_own(
    empty_database_url: str, conn: AsyncConnection, tmp_path: Path
) -> None:
    role = sql.Identifier(f"limited_{conn.info.dbname}")
    write(tmp_path, "one", "CREATE TABLE signalstack.one ()")
    await conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'limited'").format(role))
    await conn.execute(sql.SQL("CREATE SCHEMA signalstack AUTHORIZATION {}").format(role))
    dsn = make_conninfo(empty_database_url, user=f"limited_{conn.info.dbname}", password="limited")
    try:
        await migrate.up(dsn, folder=tmp_path)
        assert await exists(conn, "signalstack.one")
    finally:
        await conn.execute("DROP SCHEMA signalstack CASCADE")
        await conn.execute(sql.SQL("DROP ROLE {}").format(role))


async def test_a_database_that_is_away_is_said_to_be_so_without_its_password() -> None:
    with pytest.raises(UnavailableError, match="cannot be reached") as raised:
        await migrate.version("postgresql://user:hunter2@127.0.0.1:1/none")

    assert "hunter2" not in str(raised.value)


def test_create_makes_the_next_pair_of_files(tmp_path: Path) -> None:
    first = migrate.create("one", folder=tmp_path)
    second = migrate.create("two_more", folder=tmp_path)

    assert [path.name for path in first] == ["0001_one.up.sql", "0001_one.down.sql"]
    assert [path.name for path in second] == ["0002_two_more.up.sql", "0002_two_more.down.sql"]
    assert [each.name for each in migrate.known(tmp_path)] == ["one", "two_more"]
    with pytest.raises(SchemaError, match="lower_case"):
        migrate.create("Über all", folder=tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["0002_two.up.sql", "0002_two.down.sql"],
        ["0001_one.up.sql"],
        ["0001_One.up.sql", "0001_One.down.sql"],
        ["0001_a.up.sql", "0001_a.down.sql", "0001_b.up.sql", "0001_b.down.sql"],
    ],
)
def test_files_that_are_out_of_place_are_named(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()

    with pytest.raises(SchemaError, match="is out of place"):
        migrate.known(tmp_path)


def test_the_schema_is_printed_from_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "signalstack.store.schema"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )

    assert done.stdout == (sql_root() / "schema.sql").read_text()


def write(folder: Path, name: str, up: str, down: str = "", *, number: int | None = None) -> Path:
    """Write the next migration, or that of a number again."""
    number = number or len(list(folder.glob("*.up.sql"))) + 1
    path = folder / f"{number:04}_{name}.up.sql"
    path.write_text(up)
    path.with_name(f"{number:04}_{name}.down.sql").write_text(down)
    return path


async def exists(conn: AsyncConnection, name: str) -> bool:
    cursor = await conn.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
    return await cursor.fetchone() == (True,)
