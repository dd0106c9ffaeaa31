"""What `signalstack bench` needs of the database: bare floors, histories, cleaning up."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
import psycopg
import psycopg_pool
from psycopg.rows import TupleRow

from signalstack.core.ids import new_id
from signalstack.store import binary
from signalstack.store.link import Call, Statement
from signalstack.store.outage import translate_errors
from signalstack.store.pool import connection_string
from signalstack.store.query import Query, execute, fetch_one, fetch_value, read, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from signalstack.store.query import Connection

FLOOR_QUEUE: Final = "signalstack-bench-floor"
INSERT: Final = Statement("baseline/insert")
NOTIFY: Final = Statement("dispatch/canary")

_LIVE: Final = Query("baseline/live", bool)
_CLEAR: Final = Query("baseline/clear", int)
_FORGET: Final = Query("baseline/forget", int)
_TAKE: Final = Query("baseline/take", int)
_FINISH: Final = Query("baseline/finish", int)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A glance at a drain, by the database's clock."""

    at: datetime
    drained: bool


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a drain: when its first run started, and how many ended well."""

    succeeded: int
    began_at: datetime


_DRAINED: Final = Query("baseline/drained", Look)
_DRAIN: Final = Query("baseline/drain", Drain)


class OneByOne:
    """One transaction per insert through psycopg's own pool: life without group commit."""

    def __init__(
        self, connections: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection]
    ) -> None:
        self._connections = connections

    async def insert(self, user_id: UUID) -> None:
        """Store one job and commit."""
        async with self._connections.connection() as conn:
            await conn.execute(read(INSERT.name).encode(), (user_id, [new_id()], FLOOR_QUEUE))


@asynccontextmanager
async def open_one_by_one(dsn: str, *, size: int) -> AsyncGenerator[OneByOne]:
    """Open a pool of exactly `size` connections that commit each statement."""
    with translate_errors():
        async with psycopg_pool.AsyncConnectionPool(
            connection_string(dsn, "signalstack baseline"),
            connection_class=psycopg.AsyncConnection[TupleRow],
            kwargs={"autocommit": True, "cursor_factory": psycopg.AsyncRawCursor},
            min_size=size,
            max_size=size,
            open=False,
        ) as connections:
            await connections.wait()
            yield OneByOne(connections)


def insert_call(user_id: UUID, count: int) -> Call:
    """Make the call for a link that stores so many bare jobs."""
    ids = binary.uuid_array([new_id().bytes for _ in range(count)])
    return Call(INSERT, (user_id.bytes, ids, FLOOR_QUEUE.encode()))


def notify_call(channel: str, payload: str) -> Call:
    """Make the call for a link that notifies and does nothing else."""
    return Call(NOTIFY, (channel.encode(), payload.encode()))


async def has_live_jobs(conn: Connection) -> bool:
    """Tell whether there is any live job at all."""
    return bool(await fetch_value(conn, _LIVE))


async def look(conn: Connection, *, user_id: UUID) -> Look:
    """Tell the time over there, and whether the tenant's live jobs are gone."""
    seen = await fetch_one(conn, _DRAINED, user_id=user_id)
    if seen is None:
        raise LookupError(user_id)
    return seen


async def drain_of(conn: Connection, *, user_id: UUID) -> Drain | None:
    """Read from history how the tenant's jobs were drained; None when none was."""
    return await fetch_one(conn, _DRAIN, user_id=user_id)


async def take(conn: Connection, *, user_id: UUID, queue: str, limit: int) -> int:
    """Delete up to `limit` waiting jobs as they are read; tell how many."""
    return await fetch_value(conn, _TAKE, user_id=user_id, queue=queue, limit=limit) or 0


async def finish(conn: Connection, *, user_id: UUID, queue: str, count: int) -> None:
    """Store so many finished jobs that never ran, and vacuum."""
    await execute(conn, _FINISH, user_id=user_id, queue=queue, count=count)
    await run(conn, "baseline/vacuum", read("baseline/vacuum"))


async def clear(conn: Connection, *, user_id: UUID) -> None:
    """Delete all that the tenant's jobs left, and vacuum."""
    await execute(conn, _CLEAR, user_id=user_id)
    await run(conn, "baseline/vacuum", read("baseline/vacuum"))


async def forget(conn: Connection, *, user_id: UUID, queues: list[str]) -> None:
    """Delete the tenant, its keys and the queues."""
    await execute(conn, _FORGET, user_id=user_id, queues=queues)
