"""Workers and their leases: one row a process, renewed over a blocking connection of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from signalstack.core.errors import UnavailableError
from signalstack.core.ids import new_id
from signalstack.store.outage import describe_reason
from signalstack.store.pool import connection_string
from signalstack.store.query import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID


class WorkerLease:
    """A worker's row and the blocking connection that keeps it; for one thread at a time."""

    def __init__(
        self, dsn: str, *, name: str, queues: Sequence[str], concurrency: int, lease_s: float
    ) -> None:
        self._dsn = dsn
        self._name = name
        self._queues = list(queues)
        self._concurrency = concurrency
        self._lease_s = lease_s
        self._connection: psycopg.Connection | None = None
        self._id: UUID | None = None

    def take(self) -> UUID:
        """Register as a new worker.

        Raises:
            UnavailableError: PostgreSQL is away.
        """
        self._id = new_id()
        self._run(
            "workers/register",
            {
                "id": self._id,
                "name": self._name,
                "queues": self._queues,
                "concurrency": self._concurrency,
                "lease_s": self._lease_s,
            },
        )
        return self._id

    def renew(self) -> bool:
        """Renew the lease; False when it was lost and another worker may run what this one ran.

        Raises:
            UnavailableError: PostgreSQL is away.
        """
        parameters = {"id": self._id, "lease_s": self._lease_s}
        return self._run("workers/heartbeat", parameters) == 1

    def give_up(self) -> None:
        """Leave, after all that was leased is settled or handed back.

        Raises:
            UnavailableError: PostgreSQL is away; the lease then runs out by itself.
        """
        self._run("workers/remove", {"id": self._id})
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self, query: str, parameters: Mapping[str, object]) -> int:
        try:
            if self._connection is None:
                self._connection = psycopg.connect(
                    connection_string(self._dsn, "signalstack heartbeat"),
                    autocommit=True,
                    prepare_threshold=None,
                )
            return self._connection.execute(read(query).encode(), parameters).rowcount
        except psycopg.Error as error:
            self.close()
            raise UnavailableError(describe_reason(error, self._dsn)) from error
