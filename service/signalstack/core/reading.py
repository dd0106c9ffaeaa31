"""What the maintenance leader reads of queues and database for the gauges of all."""

from __future__ import annotations

import msgspec


class QueueReading(msgspec.Struct, frozen=True, kw_only=True):
    """How a queue stands, all tenants together; an estimate where very many jobs wait.

    `held` are due jobs that wait because their tenant or the operator has paused the queue, which
    `paused` tells of any. The others are `pending`; `oldest_s` is the age of the oldest of them, 0
    when none waits.
    """

    queue: str
    pending: int
    held: int
    running: int
    scheduled: int
    oldest_s: float
    workers: int
    paused: bool


class ServerReading(msgspec.Struct, frozen=True, kw_only=True):
    """What goes on in the database server, at the Unix time `at`; connections are counted by state.

    `oldest_transaction_s` and `xmin_age` say how far back something holds vacuum.
    """

    at: float
    notify_queue: float
    active: int
    idle: int
    in_transaction: int
    other: int
    connections_limit: int
    oldest_transaction_s: float
    xmin_age: int
    in_recovery: bool


class TableReading(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a table with its indexes and partitions; its rows as the server counts them."""

    name: str
    bytes: int
    live: int
    dead: int
