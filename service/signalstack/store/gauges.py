"""Reads how queues, workers and the server stand, in bounded time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core.reading import QueueReading, ServerReading, TableReading
from signalstack.store.query import Query, fetch_all, fetch_one

if TYPE_CHECKING:
    from signalstack.store.query import Connection

# How many jobs one reading may cost, an index entry and a row each; how many tenants of
# all queues, each a dozen index probes.
BUDGET: Final = 5_000
LANES: Final = 200


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers have a lease and how many had one, at the Unix time `at`."""

    alive: int
    stale: int
    at: float


_QUEUES: Final = Query("gauges/queues", QueueReading)
_WORKERS: Final = Query("gauges/workers", Workers)
_SERVER: Final = Query("gauges/database", ServerReading)
_TABLES: Final = Query("gauges/tables", TableReading)


async def read_queues(conn: Connection, *, budget: int = BUDGET) -> tuple[QueueReading, ...]:
    """Tell how every queue with jobs, or declared, stands."""
    return tuple(await fetch_all(conn, _QUEUES, budget=budget, lanes=LANES))


async def read_workers(conn: Connection) -> Workers:
    """Count the workers."""
    return await fetch_one(conn, _WORKERS) or Workers(alive=0, stale=0, at=0.0)


async def read_server(conn: Connection) -> ServerReading | None:
    """Tell what goes on in the server."""
    return await fetch_one(conn, _SERVER)


async def read_tables(conn: Connection) -> tuple[TableReading, ...]:
    """Tell the size of every table of ours."""
    return tuple(await fetch_all(conn, _TABLES))
