"""Owns how the schema goes up and down: one process at a time, each step whole or not at all.

The lock is the session's, so it vanishes with the connection whatever becomes of the process. The
DSN must be direct: behind a pooler in transaction mode the lock would stay with the pooler.
"""

from __future__ import annotations

import re
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable, QueryCanceled

from signalstack.core.errors import SchemaError, UnavailableError
from signalstack.core.log import get_logger
from signalstack.store.interruptible import interruptible
from signalstack.store.migrations import (
    Migration,
    Version,
    applied,
    compare,
    create,
    known,
    refuse_unknown,
)
from signalstack.store.outage import describe_reason
from signalstack.store.partitions import DAYS, LOCK_S, STATEMENT_S
from signalstack.store.query import read
from signalstack.store.script import split_statements
from signalstack.store.sqlfiles import sql_root

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

__all__ = ["Migration", "Version", "create", "down", "known", "require_current", "up", "version"]

UP_COMMAND: Final = "signalstack migrate up"
DOWN_COMMAND: Final = "signalstack migrate down"

_HURRY: Final = {"lock_ms": round(LOCK_S * 1_000), "statement_ms": round(STATEMENT_S * 1_000)}
_LOCK_DEADLINE_S: Final = 600.0
_LOCK_PAUSE_S: Final = 0.1
_CONNECT_TIMEOUT_S: Final = 10
_NO_TRANSACTION: Final = re.compile(r"--\s*no transaction\s*\n", re.IGNORECASE)

_log: Final = get_logger("signalstack.migrate")


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """One file to run, and the query that notes it."""

    file: str
    whole: bool
    statements: list[str]
    note: str
    migration: Migration
    again: str


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
        await _run(conn, sql_root().joinpath("migrations", "bootstrap.sql").read_bytes())
        standing = compare(migrations, await applied(conn))
        refuse_unknown(standing)
        done = [each for each in standing.pending if to is None or each.version <= to]
        for migration in done:
            await _take(conn, _step_up(migration))
        if folder is None and len(done) == len(standing.pending):
            await interruptible(conn, partial(_make_partitions, conn))
    return done


async def down(dsn: str, *, steps: int = 1, folder: Path | None = None) -> list[Migration]:
    """Revert the last `steps` migrations and give them; what they made is lost.

    Raises:
        SchemaError: a migration failed or was edited, or the database is ahead of this build.
        UnavailableError: PostgreSQL is away, or another process migrates for too long.
    """
    migrations = known(folder)
    async with _locked(dsn) as conn:
        standing = compare(migrations, await applied(conn))
        refuse_unknown(standing)
        first = max(standing.current - steps, 0)
        done = migrations[first : standing.current][::-1]
        for migration in done:
            await _take(conn, _step_down(migration))
    return done


async def version(dsn: str, *, folder: Path | None = None) -> Version:
    """Tell where the database stands, and change nothing.

    Raises:
        SchemaError: an applied migration was edited.
        UnavailableError: PostgreSQL is away.
    """
    async with _connected(dsn) as conn:
        return compare(known(folder), await applied(conn))


async def require_current(
    conn: AsyncConnection[Any],
    migrations: Sequence[Migration] | None = None,
    *,
    or_newer: bool = False,
) -> None:
    """Make sure that the database has exactly the schema of this build, or at least all of it.

    Raises:
        SchemaError: it has not; the message has the command to run.
    """
    standing = compare(known() if migrations is None else migrations, await applied(conn))
    if not or_newer:
        refuse_unknown(standing)
    if standing.current == 0:
        raise SchemaError(f"The database has no schema of SignalStack: run `{UP_COMMAND}`.")
    if standing.pending:
        raise SchemaError(
            f"The database's schema is at version {standing.current}, and this build needs "
            f"{standing.latest}: run `{UP_COMMAND}`."
        )


@asynccontextmanager
async def _connected(dsn: str) -> AsyncGenerator[AsyncConnection[Any]]:
    try:
        conn = await AsyncConnection[Any].connect(
            dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S, prepare_threshold=None
        )
    except psycopg.OperationalError as error:
        reason = describe_reason(error, dsn)
        raise UnavailableError(f"PostgreSQL cannot be reached: {reason}") from error
    try:
        yield conn
    finally:
        await conn.close()


@asynccontextmanager
async def _locked(dsn: str) -> AsyncGenerator[AsyncConnection[Any]]:
    """Connect, and be the only migrator of this database until the end."""
    async with _connected(dsn) as conn:
        await conn.execute(read("migrations/unbound").encode())
        deadline = time.monotonic() + _LOCK_DEADLINE_S
        while not await _try_lock(conn):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Another process has been migrating for {_LOCK_DEADLINE_S / 60:.0f} minutes: "
                    "look into pg_stat_activity, then try again."
                )
            await anyio.sleep(_LOCK_PAUSE_S)
        yield conn


async def _try_lock(conn: AsyncConnection[Any]) -> bool:
    cursor = await conn.execute(read("migrations/lock").encode())
    return await cursor.fetchone() == (True,)


def _step_up(migration: Migration) -> _Step:
    return _plan(migration, migration.up, "migrations/insert", UP_COMMAND)


def _step_down(migration: Migration) -> _Step:
    return _plan(migration, migration.down, "migrations/delete", DOWN_COMMAND)


def _plan(migration: Migration, path: Path, note: str, again: str) -> _Step:
    script = path.read_text(encoding="utf-8")
    whole = not _NO_TRANSACTION.match(script)
    return _Step(
        file=path.name,
        whole=whole,
        statements=[script] if whole else split_statements(script),
        note=read(note),
        migration=migration,
        again=again,
    )


async def _take(conn: AsyncConnection[Any], step: _Step) -> None:
    """Run a file and note that it was run: all or nothing, unless the file asks otherwise."""

    async def run() -> None:
        if not step.whole:
            await _run_statements(conn, step)
            return
        async with conn.transaction():
            await conn.execute(read("migrations/give_way").encode())
            await _run_statements(conn, step)

    try:
        await interruptible(conn, run)
    except psycopg.Error as error:
        kept = "Nothing of it was kept" if step.whole else "The statements before it were kept"
        raise SchemaError(
            f"{step.file} failed: {' '.join(str(error).split())}. {kept}. "
            f"Mend the cause, then run `{step.again}` again."
        ) from error


async def _run_statements(conn: AsyncConnection[Any], step: _Step) -> None:
    for statement in step.statements:
        await conn.execute(statement.encode())
    await conn.execute(step.note.encode(), msgspec.structs.asdict(step.migration))


async def _make_partitions(conn: AsyncConnection[Any]) -> None:
    """Make the first partitions, as maintenance does: one table and day a transaction, in a hurry.

    The service runs meanwhile, and queues up behind each lock. What fails is left to the leader.
    """
    cursor = await conn.execute(read("maintenance/missing_partitions").encode(), {"days": DAYS})
    for parent, day in await cursor.fetchall():
        try:
            async with conn.transaction():
                await conn.execute(read("maintenance/hurry").encode(), _HURRY)
                await conn.execute(
                    read("maintenance/make_partition").encode(), {"parent": parent, "day": day}
                )
        except (LockNotAvailable, QueryCanceled) as error:
            _log.warning("partition_put_off", table=parent, day=day, error=str(error))


async def _run(conn: AsyncConnection[Any], statement: bytes) -> None:
    async def run() -> None:
        await conn.execute(statement)

    await interruptible(conn, run)
