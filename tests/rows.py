"""Small builders for what tests of the dispatch path need: writes, rows, workers, links."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
from psycopg.rows import scalar_row

from signalstack.core.event import NewEvent
from signalstack.core.ids import new_id
from signalstack.core.job import NewJob
from signalstack.store.dispatch import (
    CLAIM_SESSION,
    CLAIM_STATEMENTS,
    SESSION,
    SETTLE_STATEMENTS,
    Dispatch,
)
from signalstack.store.link import Link
from signalstack.store.query import read
from signalstack.store.writes import Key, Write

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from signalstack.core.stage import Observer
    from signalstack.store.link import Statement

Database = psycopg.AsyncConnection[Any]


@asynccontextmanager
async def connect(dsn: str) -> AsyncGenerator[Database]:
    """Open a connection in autocommit mode, to arrange and to look."""
    conn = await psycopg.AsyncConnection[Any].connect(dsn, autocommit=True)
    async with conn:
        yield conn


async def value(conn: Database, query: str, *parameters: object) -> Any:
    """Run a query with `%s` parameters and return the one value of its first row."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(query.encode(), parameters)
        return await cursor.fetchone()


async def rows(conn: Database, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run a query with `%s` parameters and return its rows."""
    cursor = await conn.execute(query.encode(), parameters)
    return await cursor.fetchall()


@asynccontextmanager
async def open_link(
    dsn: str, observer: Observer, statements: Iterable[Statement] = (), **options: Any
) -> AsyncGenerator[Link]:
    """Give a link that is kept open for as long as the block runs."""
    link = Link("test", dsn, statements, observer, **options)
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.keep)
        yield link
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_dispatch(dsn: str, observer: Observer) -> AsyncGenerator[Dispatch]:
    """Give a dispatch as a worker has it: claims over one link, settlements over another."""
    async with (
        open_link(dsn, observer, CLAIM_STATEMENTS, settings=CLAIM_SESSION) as claims,
        open_link(dsn, observer, SETTLE_STATEMENTS, settings=SESSION) as settlements,
    ):
        yield Dispatch(claims, settlements)


def new_job(**fields: Any) -> NewJob:
    """Make a job as the use-cases hand it to the intake."""
    usual: dict[str, Any] = {"id": new_id(), "type": "noop", "payload": b"null", "max_attempts": 3}
    return NewJob(**usual | fields)


def new_event(**fields: Any) -> NewEvent:
    """Make an event as the use-cases hand it to the intake."""
    usual: dict[str, Any] = {"id": new_id(), "type": "order.paid"}
    return NewEvent(**usual | fields)


def new_write(user_id: UUID, *jobs: NewJob, key: str | None = None, **fields: Any) -> Write:
    """Make a write of one job, or of those given, under an idempotency key when there is one."""
    held = None
    if key is not None:
        route = "jobs" if fields.get("event") is None else "events"
        held = Key(route=route, key=key, fingerprint=fields.pop("fingerprint", b"body"))
    made = jobs if jobs or fields.get("event") is not None else (new_job(),)
    return Write(user_id=user_id, jobs=made, key=held, **fields)


async def take(conn: Database, way: str, user_id: UUID, queue: str = "default") -> int | None:
    """Take the only invitation as who stores a job does: `alone`, `keyed`, or among `others`.

    Returns its token, None where it cannot be had.
    """
    if way == "others":
        call = "SELECT token FROM signalstack.take_invitation(%s, %s)"
        return await value(conn, call, queue, user_id)
    job = (user_id, new_id(), "noop", queue, 0, None, None, 3, None, None, "null", 0)
    token = await value(conn, "SELECT token FROM signalstack.invitations")
    guard = () if way == "alone" else ("jobs", str(job[1]), b"body", *[None] * 9)
    statement = read(f"intake/{'enqueue' if way == 'alone' else 'accept'}_one").encode()
    await psycopg.AsyncRawCursor(conn).execute(statement, (*job, True, True, *guard))
    left = await value(conn, "SELECT token FROM signalstack.invitations")
    return token if left is None else None


async def add_user(conn: Database, name: str = "acme") -> UUID:
    """Make a tenant."""
    user_id = new_id()
    await conn.execute("INSERT INTO signalstack.users (id, name) VALUES (%s, %s)", (user_id, name))
    return user_id


async def add_jobs(
    conn: Database,
    user_id: UUID,
    count: int = 1,
    *,
    queue: str = "default",
    priority: int = 0,
    run_at: datetime | None = None,
    max_attempts: int = 3,
    ids: Sequence[UUID] = (),
) -> list[UUID]:
    """Put waiting jobs in, oldest first; delayed ones when `run_at` is given."""
    ids = list(ids) or [new_id() for _ in range(count)]
    await conn.execute(
        """
        INSERT INTO signalstack.jobs
            (user_id, id, type, queue, priority, delayed, max_attempts, run_at, wake, payload)
        SELECT %(user)s, n.id, 'noop', %(queue)s, %(priority)s, %(at)s::timestamptz IS NOT NULL,
            %(max)s, coalesce(%(at)s, now()), CASE WHEN %(at)s IS NOT NULL THEN 'timer' END, 'null'
        FROM unnest(%(ids)s::uuid[]) AS n (id)
        """,
        {
            "user": user_id,
            "queue": queue,
            "priority": priority,
            "at": run_at,
            "max": max_attempts,
            "ids": ids,
        },
    )
    return ids


@asynccontextmanager
async def dead_jobs(dsn: str, conn: Database, count: int) -> AsyncGenerator[None]:
    """Have so many jobs that are gone stay in the indexes: an older transaction is open."""
    async with connect(dsn) as idler, idler.transaction():
        await idler.execute("SELECT pg_current_xact_id()")
        ids = await add_jobs(conn, await add_user(conn, "ghost"), count)
        await conn.execute("DELETE FROM signalstack.jobs WHERE id = ANY(%s)", (ids,))
        yield


async def add_worker(conn: Database, *, lease_s: float = 60) -> UUID:
    """Register a worker; a negative `lease_s` makes a dead one."""
    worker_id = new_id()
    await conn.execute(
        """
        INSERT INTO signalstack.workers (id, name, queues, concurrency, lease_until)
        VALUES (%s, 'test', '{}', 10, clock_timestamp() + %s * interval '1 second')
        """,
        (worker_id, lease_s),
    )
    return worker_id


async def end_lease(conn: Database, worker_id: UUID) -> None:
    """Let a worker's lease be over."""
    await conn.execute(
        "UPDATE signalstack.workers SET lease_until = clock_timestamp() - interval '1 second' "
        "WHERE id = %s",
        (worker_id,),
    )


async def lock_job(conn: Database, job_id: UUID) -> None:
    """Lock a live job's row, for as long as the transaction lasts; fails when somebody holds it."""
    found = await rows(
        conn, "SELECT id FROM signalstack.jobs WHERE id = %s FOR UPDATE NOWAIT", job_id
    )
    assert found == [(job_id,)]


async def until_someone_waits(conn: Database) -> None:
    """Wait until a connection of ours waits for a lock in this database."""
    query = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'signalstack%%' AND wait_event_type = 'Lock' AND %s)"
    )
    with anyio.fail_after(5):
        while not await value(conn, query, True):  # noqa: FBT003 - the per cent sign needs one
            await anyio.lowlevel.checkpoint()
