"""Owns the changes of the schema: which there are, which were applied, and how to go up and down.

Each process takes the same session lock, so several may start at once; the lock and everything
unfinished vanish with the connection. The DSN must be direct: a pooler in transaction mode would
keep the lock.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, LiteralString, cast

import anyio
import msgspec
import psycopg
from psycopg import AsyncConnection

from signalstack.core.errors import SchemaError, UnavailableError
from signalstack.store.interruptible import interruptible
from signalstack.store.script import split_statements
from signalstack.store.sqlfiles import is_checkout, sql_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

UP_COMMAND: Final = "signalstack migrate up"
PARTITION_DAYS: Final = 3
"""Today's partitions and those of the next days are made by `up`; maintenance makes the later ones."""

_LOCK_KEY: Final = 0x5349_474E_414C  # "SIGNAL"
_LOCK_DEADLINE_S: Final = 600.0
_LOCK_PAUSE_S: Final = 0.1
_CONNECT_TIMEOUT_S: Final = 10
_NO_TRANSACTION: Final = re.compile(r"--\s*no transaction\s*$", re.IGNORECASE)
_FILE: Final = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.up\.sql")


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the schema, as its two files say."""

    version: int
    name: str
    checksum: str
    up: Path
    down: Path


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A migration that the database says it has."""

    version: int
    name: str
    checksum: str
    applied_at: datetime


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Where a database stands: 0 is none; `unknown` are versions that this build has no file for."""

    current: int
    latest: int
    pending: tuple[Migration, ...]
    unknown: tuple[int, ...]


def known(folder: Path | None = None) -> list[Migration]:
    """List the migrations in `folder`, by default our own, in order.

    Raises:
        SchemaError: a number is missing or used twice, or a file has no partner.
    """
    folder = folder or sql_root() / "migrations"
    found: list[Migration] = []
    for path in sorted(folder.glob("*.up.sql")):
        named = _FILE.fullmatch(path.name)
        down = path.with_name(path.name.replace(".up.sql", ".down.sql"))
        if named is None or int(named["version"]) != len(found) + 1 or not down.is_file():
            raise SchemaError(
                f"{path}: expected {len(found) + 1:04}_name.up.sql and a .down.sql beside it."
            )
        found.append(
            Migration(
                version=len(found) + 1,
                name=named["name"],
                checksum=hashlib.sha256(path.read_bytes()).hexdigest(),
                up=path,
                down=down,
            )
        )
    return found


async def up(dsn: str, *, to: int | None = None, folder: Path | None = None) -> list[Migration]:
    """Apply what is pending, up to version `to`, and give what was applied.

    Raises:
        SchemaError: a migration failed or was edited, or the database is ahead of this build.
        UnavailableError: PostgreSQL is away, or another process migrates for too long.
    """
    migrations = known(folder)
    if to is not None and not 0 <= to <= len(migrations):
        raise SchemaError(f"There is no version {to}; the latest is {len(migrations)}.")
    async with _locked(dsn) as conn:
        await interruptible(conn, lambda: _prepare(conn))
        standing = _compare(migrations, await _applied(conn))
        _refuse_unknown(standing)
        done = [each for each in standing.pending if to is None or each.version <= to]
        for migration in done:
            await _apply(conn, migration)
        if len(standing.pending) == len(done):
            await interruptible(conn, lambda: _make_partitions(conn))
    return done


async def down(dsn: str, *, steps: int = 1, folder: Path | None = None) -> list[Migration]:
    """Revert the last `steps` migrations and give them; what they made is lost.

    Raises:
        SchemaError: a migration failed, or was applied by another build.
        UnavailableError: PostgreSQL is away, or another process migrates for too long.
    """
    migrations = known(folder)
    async with _locked(dsn) as conn:
        standing = _compare(migrations, await _applied(conn))
        _refuse_unknown(standing)
        first = max(standing.current - steps, 0)
        done = migrations[first : standing.current][::-1]
        for migration in done:
            await _revert(conn, migration)
    return done


async def version(dsn: str, *, folder: Path | None = None) -> Version:
    """Tell where the database stands, without changing anything.

    Raises:
        SchemaError: an applied migration was edited.
        UnavailableError: PostgreSQL is away.
    """
    async with _connected(dsn) as conn:
        return _compare(known(folder), await _applied(conn))


async def require_current(
    conn: AsyncConnection[Any], migrations: Sequence[Migration] | None = None
) -> None:
    """Make sure that the database has exactly the schema of this build.

    Raises:
        SchemaError: it has not; the message has the command to run.
    """
    standing = _compare(migrations or known(), await _applied(conn))
    _refuse_unknown(standing)
    if standing.current == 0:
        raise SchemaError(f"The database has no SignalStack schema: run `{UP_COMMAND}`.")
    if standing.pending:
        raise SchemaError(
            f"The database's schema is at version {standing.current}, this build needs "
            f"{standing.latest}: run `{UP_COMMAND}`."
        )


def create(name: str, *, folder: Path | None = None) -> tuple[Path, Path]:
    """Make the two files of a new migration and give their paths, up first.

    Raises:
        SchemaError: the name is not lower_case, or this is no source checkout.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SchemaError(f"{name!r}: name it in lower_case, like `add_labels`.")
    if folder is None and not is_checkout():
        raise SchemaError("New migrations are made in a source checkout, and this is none.")
    number = len(known(folder)) + 1
    folder = folder or sql_root() / "migrations"
    paths = tuple(folder / f"{number:04}_{name}.{way}.sql" for way in ("up", "down"))
    for path, sentence in zip(paths, (_UP_TEMPLATE, _DOWN_TEMPLATE), strict=True):
        path.write_text(sentence)
    return paths[0], paths[1]


_UP_TEMPLATE: Final = """\
-- Say what this changes and why. It runs in one transaction. Qualify every name: signalstack.…
-- For CREATE INDEX CONCURRENTLY make the first line `-- no transaction`, and write it so that it can
-- run again after a failure: DROP INDEX CONCURRENTLY IF EXISTS … before each CREATE.
"""
_DOWN_TEMPLATE: Final = "-- Take back everything that the up file did.\n"


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[AsyncConnection[Any]]:
    try:
        conn = await AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S, prepare_threshold=None
        )
    except psycopg.OperationalError as error:
        raise UnavailableError(f"PostgreSQL cannot be reached: {error}") from error
    try:
        yield conn
    finally:
        with anyio.CancelScope(shield=True):  # sends one message and waits for nothing
            await conn.close()


@asynccontextmanager
async def _locked(dsn: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Connect and be the only migrator of this database.

    Waits between attempts, not inside PostgreSQL: a waiting statement holds a snapshot, and
    CREATE INDEX CONCURRENTLY of the lock's holder would wait for that one: a deadlock.
    """
    async with _connected(dsn) as conn:
        deadline = time.monotonic() + _LOCK_DEADLINE_S
        while not await _try_lock(conn):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Another process has been migrating for {_LOCK_DEADLINE_S / 60:.0f} minutes: "
                    "see pg_stat_activity, then try again."
                )
            await anyio.sleep(_LOCK_PAUSE_S)
        yield conn


async def _try_lock(conn: AsyncConnection[Any]) -> bool:
    cursor = await conn.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [_LOCK_KEY])
    row = await cursor.fetchone()
    return bool(row and row[0])


async def _prepare(conn: AsyncConnection[Any]) -> None:
    """Make the schema and the table of migrations, asking for no right that is not needed."""
    async with conn.transaction():
        cursor = await conn.execute("SELECT pg_catalog.to_regnamespace('signalstack') IS NULL")
        if await cursor.fetchone() == (True,):
            await conn.execute("CREATE SCHEMA signalstack")
        await conn.execute(
            """
            CREATE TABLE IF NOT EXISTS signalstack.migrations (
                version integer PRIMARY KEY,
                name text NOT NULL,
                checksum text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )


async def _applied(conn: AsyncConnection[Any]) -> list[Applied]:
    async with conn.transaction(), conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        await cursor.execute("SELECT pg_catalog.to_regclass('signalstack.migrations') AS found")
        row = await cursor.fetchone()
        if row is None or row["found"] is None:
            return []
        await cursor.execute(
            "SELECT version, name, checksum, applied_at FROM signalstack.migrations ORDER BY version"
        )
        return msgspec.convert(await cursor.fetchall(), list[Applied])


def _compare(migrations: Sequence[Migration], applied: Sequence[Applied]) -> Version:
    by_version = {each.version: each for each in migrations}
    for row in applied:
        migration = by_version.get(row.version)
        if migration and migration.checksum != row.checksum:
            raise SchemaError(
                f"{migration.up} was changed after it was applied to this database as `{row.name}`: "
                "restore the file, and put the change into a new migration."
            )
    has = {row.version for row in applied}
    return Version(
        current=max(has, default=0),
        latest=len(migrations),
        pending=tuple(each for each in migrations if each.version not in has),
        unknown=tuple(sorted(has - by_version.keys())),
    )


def _refuse_unknown(standing: Version) -> None:
    if standing.unknown:
        raise SchemaError(
            f"The database's schema is at version {standing.current}, this build knows only "
            f"{standing.latest}: update SignalStack, or run `signalstack migrate down` with the "
            "build that applied it."
        )


async def _apply(conn: AsyncConnection[Any], migration: Migration) -> None:
    note = "INSERT INTO signalstack.migrations (version, name, checksum) VALUES (%s, %s, %s)"
    values = [migration.version, migration.name, migration.checksum]
    await _change(conn, migration.up, note, values, again=UP_COMMAND)


async def _revert(conn: AsyncConnection[Any], migration: Migration) -> None:
    note = "DELETE FROM signalstack.migrations WHERE version = %s"
    await _change(conn, migration.down, note, [migration.version], again="signalstack migrate down")


async def _change(
    conn: AsyncConnection[Any], path: Path, note: LiteralString, values: list[object], *, again: str
) -> None:
    """Run a file and note that it was run: all or nothing, unless the file asks otherwise."""
    script = path.read_text()
    whole = not _NO_TRANSACTION.match(script.partition("\n")[0])

    async def run() -> None:
        if whole:
            async with conn.transaction():
                await conn.execute(_trusted(script))
                await conn.execute(note, values)
            return
        for statement in split_statements(script):
            await conn.execute(_trusted(statement))
        await conn.execute(note, values)

    try:
        await interruptible(conn, run)
    except psycopg.Error as error:
        left = "Nothing of it was kept" if whole else "Its statements before that one were kept"
        raise SchemaError(
            f"{path.name} failed: {str(error).strip()}. {left}. "
            f"Mend the cause and run `{again}` again."
        ) from error


async def _make_partitions(conn: AsyncConnection[Any]) -> None:
    cursor = await conn.execute(
        "SELECT pg_catalog.to_regprocedure('signalstack.make_partitions(integer)') IS NOT NULL"
    )
    if await cursor.fetchone() == (True,):
        await conn.execute("SELECT signalstack.make_partitions(%s)", [PARTITION_DAYS])


def _trusted(script: str) -> LiteralString:
    """Vouch for text that comes from our own files, never from a caller."""
    return cast("LiteralString", script)
