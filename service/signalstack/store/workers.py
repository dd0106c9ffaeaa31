"""Workers and their leases: one row a process, renewed over a blocking connection of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg

from signalstack.core.errors import UnavailableError
from signalstack.core.ids import new_id
from signalstack.store.outage import describe_reason
from signalstack.store.pool import EXPECTED, connection_string
from signalstack.store.query import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeVar
    from uuid import UUID

    from psycopg.abc import PQGen

    Result = TypeVar("Result")

# A lease of 30 s survives an answer that takes so long, and two more tries.
_ANSWER_S: Final = 5.0
# PostgreSQL gives up before we do, so that nothing is left behind that waits for a lock.
_SERVER_SHARE: Final = 0.8


class _Connection(psycopg.Connection[Any]):
    """A blocking connection that waits for no answer longer than `answer_s`."""

    answer_s = _ANSWER_S

    def wait(
        self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None
    ) -> Result:
        """Have what psycopg waits for end in time."""
        return super().wait(gen, interval, self.answer_s if timeout is None else timeout)


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
        self._answer_s = min(_ANSWER_S, lease_s / 2)
        self._connection: _Connection | None = None
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
                self._connection = self._connect()
            return self._connection.execute(read(query).encode(), parameters).rowcount
        except psycopg.Error as error:
            self.close()
            raise UnavailableError(describe_reason(error, self._dsn)) from error

    def _connect(self) -> _Connection:
        connection = _Connection.connect(
            connection_string(self._dsn, "signalstack heartbeat"),
            autocommit=True,
            prepare_threshold=None,
        )
        # A peer that takes everything and answers nothing looks alive to TCP: without a deadline
        # the thread would wait for ever, and the worker would stay without a lease.
        connection.answer_s = self._answer_s
        limit = str(round(self._answer_s * _SERVER_SHARE * 1000))
        settings = {**EXPECTED, "statement_timeout": limit, "lock_timeout": limit}
        try:
            connection.execute(
                read("connections/configure").encode(),
                {
                    "names": list(settings),
                    "values": list(settings.values()),
                    "pid": connection.pgconn.backend_pid,
                },
            )
        except psycopg.Error:
            connection.close()
            raise
        return connection
