"""Reads what the gauges of queues and database show, so that a scrape reads memory alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core.stage import DatabaseRead, QueuesRead
from signalstack.store import chores, gauges

if TYPE_CHECKING:
    from signalstack.core.stage import Observer
    from signalstack.store.pool import Pool

QUEUES_S: Final = 5.0
DATABASE_S: Final = 15.0
_LOCK_S: Final = 0.2
_STATEMENT_S: Final = 2.0


async def read_queues(pool: Pool, observer: Observer) -> bool:
    """Look at the queues and workers, and tell the observer."""
    async with pool.transaction() as conn:
        await chores.hurry(conn, lock_s=_LOCK_S, statement_s=_STATEMENT_S)
        queues = await gauges.read_queues(conn)
        workers = await gauges.read_workers(conn)
    observer.tell(
        QueuesRead(
            at=workers.at,
            queues=queues,
            workers_alive=workers.alive,
            workers_stale=workers.stale,
        )
    )
    return False


async def read_database(pool: Pool, observer: Observer) -> bool:
    """Look at the server and the tables, and tell the observer."""
    async with pool.transaction() as conn:
        await chores.hurry(conn, lock_s=_LOCK_S, statement_s=_STATEMENT_S)
        server = await gauges.read_server(conn)
        tables = await gauges.read_tables(conn)
    if server is not None:
        observer.tell(DatabaseRead(server=server, tables=tables))
    return False
