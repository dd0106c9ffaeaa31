"""The one place where pooled connections run SQL: loaded, timed, shielded, rows made structs."""

from __future__ import annotations

from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio
import msgspec
from psycopg import AsyncConnection, pq
from psycopg.adapt import Loader
from psycopg.rows import DictRow

from signalstack.core import actor
from signalstack.core.errors import UnavailableError
from signalstack.core.stage import Queried
from signalstack.store.binary import read_timestamptz
from signalstack.store.outage import ContendedError, translate_errors
from signalstack.store.sqlfiles import sql_root

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from psycopg import AsyncCursor
    from psycopg.abc import Buffer

    from signalstack.core.stage import Observer

SERIALIZATION_TRIES: Final = 4

Row = TypeVar("Row")
Result = TypeVar("Result")


class Query(msgspec.Struct, Generic[Row], frozen=True):
    """A file of sql/queries, named as in "jobs/get", and the type that each of its rows fills."""

    name: str
    row: type[Row]

    @property
    def text(self) -> str:
        """The statement, with psycopg's `%(name)s` parameters."""
        return read(self.name)


class Connection(AsyncConnection[DictRow]):
    """A pooled connection; the pool sets what running a query on it needs."""

    observer: Observer
    # Longer than statement_timeout: it ends what a silent peer or a pooler leaves hanging.
    deadline_s: float
    # Whose rows alone can be seen, while the connection is lent on a tenant's behalf.
    tenant: UUID | None = None


_BIND: Final = "connections/bind"


@cache
def read(name: str) -> str:
    """Read the text of a file of sql/queries, once a process."""
    return sql_root().joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")


def preload() -> None:
    """Read every statement now: a process that may open no more files still has them all."""
    for path in (sql_root() / "queries").glob("*/*.sql"):
        read(f"{path.parent.name}/{path.stem}")


async def fetch_one(conn: Connection, query: Query[Row], **parameters: object) -> Row | None:
    """Run a query and make a struct of its first row, if it has one."""
    cursor = await run(conn, query.name, query.text, parameters)
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, query.row)


async def fetch_all(conn: Connection, query: Query[Row], **parameters: object) -> list[Row]:
    """Run a query and make a struct of each row."""
    cursor = await run(conn, query.name, query.text, parameters)
    return msgspec.convert(await cursor.fetchall(), list[query.row])


async def fetch_value(conn: Connection, query: Query[Row], **parameters: object) -> Row | None:
    """Run a query and take the first column of its first row, if it has one."""
    cursor = await run(conn, query.name, query.text, parameters)
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(next(iter(row.values())), query.row)


async def execute(conn: Connection, query: Query[Any], **parameters: object) -> int:
    """Run a statement and tell how many rows it touched."""
    cursor = await run(conn, query.name, query.text, parameters)
    return cursor.rowcount


async def run(
    conn: Connection, name: str, text: str, parameters: Mapping[str, object] | None = None
) -> AsyncCursor[DictRow]:
    """Run a statement to its end, whoever cancels meanwhile, and tell the observer its duration.

    Cancelling a statement midway closes the connection and leaves PostgreSQL working on it; it is
    bounded by statement_timeout and TCP timeouts, so waiting for it is the lesser evil.
    """
    statements = [(text, parameters)]
    if conn.tenant is not None and conn.pgconn.transaction_status == pq.TransactionStatus.IDLE:
        # Sent before the statement and ended by the same Sync: PostgreSQL takes both for one
        # transaction. A BEGIN in it keeps that transaction, and what was set for it, open.
        whose = {"user_id": str(conn.tenant), "actor": actor.current()}
        statements.insert(0, (read(_BIND), whose))
    began = perf_counter()
    try:
        with translate_errors(), anyio.move_on_after(conn.deadline_s, shield=True):
            return await _send(conn, statements)
    finally:
        conn.observer.tell(Queried(query=name, duration_s=perf_counter() - began))
    await conn.close()
    raise UnavailableError("PostgreSQL did not answer in time")


async def _send(
    conn: Connection, statements: Sequence[tuple[str, Mapping[str, object] | None]]
) -> AsyncCursor[DictRow]:
    """Send statements in one round trip, and give the cursor of the last one."""
    *before, (text, parameters) = statements
    cursor = conn.cursor(binary=True)
    if not before:
        return await cursor.execute(text.encode(), parameters)
    # psycopg takes a statement in a pipeline for prepared as soon as it has asked for it; where it
    # could not be prepared (a lock, a deadline), it would never find it again: so none is.
    async with conn.pipeline():
        for first, given in before:
            await conn.cursor(binary=True).execute(first.encode(), given, prepare=False)
        await cursor.execute(text.encode(), parameters, prepare=False)
    return cursor


async def retry_serialization(
    work: Callable[[], Awaitable[Result]], *, tries: int = SERIALIZATION_TRIES
) -> Result:
    """Do a whole transaction again when it lost against another one (40001, 40P01).

    Raises:
        UnavailableError: it lost every time.
    """
    for _ in range(tries - 1):
        try:
            return await work()
        except ContendedError:
            continue
    return await work()


def adapt(conn: Connection) -> None:
    """Have binary results come as our structs want them: jsonb untouched, times in UTC."""
    conn.adapters.register_loader("jsonb", _JsonbLoader)
    conn.adapters.register_loader("timestamptz", _TimestamptzLoader)


class _JsonbLoader(Loader):
    """Hands jsonb on as it came: most of it goes straight into a response."""

    format = pq.Format.BINARY

    def load(self, data: Buffer) -> msgspec.Raw:
        return msgspec.Raw(bytes(data)[1:])  # a version byte leads


class _TimestamptzLoader(Loader):
    """Makes UTC times whatever the session's time zone, which a pooler may have changed."""

    format = pq.Format.BINARY

    def load(self, data: Buffer) -> object:
        return read_timestamptz(bytes(data))
