"""What a database can be asked about itself before it is trusted: facts alone, no judgement."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import datetime
from time import perf_counter, time
from typing import TYPE_CHECKING, Final, cast
from uuid import uuid4

import msgspec
import psycopg
from psycopg.rows import dict_row

from signalstack.core.errors import UnavailableError
from signalstack.store.outage import describe_reason
from signalstack.store.pool import connection_string
from signalstack.store.query import Connection, Query, adapt, execute, fetch_all, fetch_one
from signalstack.store.query import fetch_value as fetch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from signalstack.core.stage import Observer

_DEADLINE_S: Final = 5.0
_CLOCK_SAMPLES: Final = 3


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server and its settings; a limit of -1 connections is none, a timeout of 0 is off.

    `connections` leaves out those that are kept for administrators; `notify_queue` is a share of 1.
    """

    number: int
    version: str
    encoding: str
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    autovacuum: bool
    statement_timeout_s: float
    idle_session_timeout_s: float
    connections: int
    connected: int
    role_connections: int
    database_connections: int
    notify_queue: float


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which database of which running server answers; `pid` is the process that does."""

    oid: int
    name: str
    started_at: datetime
    pid: int


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What a role may do; `enter` and `make_tables` are None while there is no schema of ours."""

    role: str
    make_schema: bool
    enter: bool | None
    make_tables: bool | None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One of our tables: the privileges that lack; `unowned` when no partition can be made."""

    name: str
    missing: list[str]
    unowned: bool


class OpenTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that has been open for `age_s` seconds, and who holds it."""

    holder: str
    age_s: float


_SERVER: Final = Query("doctor/server", Server)
_IDENTITY: Final = Query("doctor/identity", Identity)
_CLOCK: Final = Query("doctor/clock", float)
_CANARY: Final = Query("doctor/canary", str)
_RIGHTS: Final = Query("doctor/rights", Rights)
_TABLES: Final = Query("doctor/tables", Table)
_OLDEST: Final = Query("doctor/oldest_transaction", OpenTransaction)


@asynccontextmanager
async def connect(dsn: str, observer: Observer) -> AsyncGenerator[Connection]:
    """Connect as the service does, once.

    Raises:
        UnavailableError: it cannot; the message is the reason, without a password.
    """
    try:
        conn = await Connection.connect(
            connection_string(dsn, "signalstack doctor"),
            autocommit=True,
            prepare_threshold=None,
            row_factory=dict_row,
        )
    except psycopg.Error as error:
        raise UnavailableError(describe_reason(error, dsn)) from error
    conn.observer, conn.deadline_s = observer, _DEADLINE_S
    adapt(conn)
    try:
        yield conn
    finally:
        await conn.close()


async def look_at_server(conn: Connection) -> Server:
    """Tell what the server is and how it is set."""
    return cast("Server", await fetch_one(conn, _SERVER))


async def identify(conn: Connection) -> Identity:
    """Tell which database this is."""
    return cast("Identity", await fetch_one(conn, _IDENTITY))


def is_pooled(conn: Connection, identity: Identity) -> bool:
    """Tell whether another process answers than the one that was promised: a pooler does that."""
    return conn.pgconn.backend_pid != identity.pid


async def measure_clock(conn: Connection) -> float:
    """Tell by how many seconds PostgreSQL's clock is ahead of ours, from the quickest answer."""
    quickest, ahead = float("inf"), 0.0
    for _ in range(_CLOCK_SAMPLES):
        began, asked_at = perf_counter(), time()
        there = cast("float", await fetch(conn, _CLOCK))
        took = perf_counter() - began
        if took < quickest:
            quickest, ahead = took, there - (asked_at + took / 2)
    return ahead


async def send_canary(
    listening: Connection, sender: Connection, *, timeout_s: float
) -> float | None:
    """Notify one session from the other; return the seconds that it took, None when it was silent.

    Raises:
        UnavailableError: LISTEN is refused.
    """
    channel = f"signalstack_doctor_{uuid4().hex}"
    try:
        await listening.execute(f'LISTEN "{channel}"'.encode())
        began = perf_counter()
        await execute(sender, _CANARY, channel=channel)
        async for _ in listening.notifies(timeout=timeout_s, stop_after=1):
            return perf_counter() - began
        # A pooler lends the session that listens to others next: leave it clean.
        for conn in (listening, sender):
            await conn.execute(f'UNLISTEN "{channel}"'.encode())
    except psycopg.Error as error:
        raise UnavailableError(" ".join(str(error).split())) from error
    return None


async def look_at_rights(conn: Connection) -> Rights:
    """Tell what the role may do with our schema as a whole."""
    return cast("Rights", await fetch_one(conn, _RIGHTS))


async def look_at_tables(conn: Connection) -> list[Table]:
    """Tell what the role lacks on each of our tables."""
    return await fetch_all(conn, _TABLES)


async def find_oldest_transaction(conn: Connection) -> OpenTransaction | None:
    """Find the transaction of others that has been open the longest."""
    return await fetch_one(conn, _OLDEST)
