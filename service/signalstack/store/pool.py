"""The connection pool: how connections are opened, configured, lent, watched and given back."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio
import psycopg
import psycopg_pool
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from signalstack.core.errors import UnavailableError
from signalstack.core.log import get_logger
from signalstack.core.stage import PoolSampled
from signalstack.store import query
from signalstack.store.outage import (
    describe_reason,
    describe_target,
    explain_refusal,
    translate_errors,
)
from signalstack.store.query import Connection, Query

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from types import TracebackType
    from typing import Self
    from uuid import UUID

    from signalstack.core.stage import Observer

_NETWORK: Final[Mapping[str, str | int]] = {
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 3_000,  # found a cut link in 3 s; without it one hangs for minutes
    "target_session_attrs": "read-write",  # among several hosts, the one that is no standby
}
# What statements count on and a role, a database or a server may be set to otherwise: that a row
# which was waited for is seen as it is then.
EXPECTED: Final = {"default_transaction_isolation": "read committed", "row_security": "on"}
# psycopg_pool doubles the pause between its tries to connect; giving up early starts it anew
# with the next caller, so that a database that is back is seen within two seconds.
_RECONNECT_S: Final = 3.0
_GRACE_S: Final = 5.0
# Callers who wait for a connection of this pool; more are refused at once.
_MAX_WAITING: Final = 1_000
_CONFIGURE: Final = Query("connections/configure", str)
_log: Final = get_logger("signalstack.store")


class Pool:
    """Lends connections in autocommit mode; open it with `async with`.

    Waiting for a connection, for a lock, for a statement: each has its limit, in seconds. Only
    one pool of a process is `gauged`: its connections are those that the metrics count.
    """

    def __init__(
        self,
        dsn: str,
        observer: Observer,
        *,
        name: str = "signalstack",
        min_size: int = 1,
        max_size: int = 10,
        acquire_timeout_s: float = 5.0,
        statement_timeout_s: float = 5.0,
        lock_timeout_s: float = 2.0,
        idle_in_transaction_timeout_s: float = 10.0,
        max_waiting: int = _MAX_WAITING,
        gauged: bool = True,
    ) -> None:
        self._observer = observer
        self._gauged = gauged
        self._lent = 0
        self._deadline_s = statement_timeout_s + _GRACE_S
        self._settings = {
            **EXPECTED,
            "statement_timeout": _milliseconds(statement_timeout_s),
            "lock_timeout": _milliseconds(lock_timeout_s),
            "idle_in_transaction_session_timeout": _milliseconds(idle_in_transaction_timeout_s),
        }
        self._connections = psycopg_pool.AsyncConnectionPool(
            connection_string(dsn, name),
            connection_class=Connection,
            kwargs={"autocommit": True, "row_factory": dict_row},
            min_size=min_size,
            max_size=max_size,
            open=False,
            configure=self._configure,
            check=self._check,
            name=name,
            timeout=acquire_timeout_s,
            max_waiting=max_waiting,
            reconnect_timeout=_RECONNECT_S,
        )

    async def __aenter__(self) -> Self:
        await self._connections.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._connections.close()

    @asynccontextmanager
    async def connection(self, tenant: UUID | None = None) -> AsyncGenerator[Connection]:
        """Lend a connection; each statement on it is a transaction of its own.

        On a `tenant`'s behalf, PostgreSQL shows it nothing but that tenant's rows.

        Raises:
            UnavailableError: none came free in time, too many wait, or PostgreSQL is away.
        """
        with translate_errors():
            conn = await self._connections.getconn()
        self._lent += 1
        self.sample()
        conn.tenant = tenant
        try:
            yield conn
        finally:
            conn.tenant = None
            with anyio.CancelScope(shield=True):
                await self._connections.putconn(conn)
            self._lent -= 1
            self.sample()

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncGenerator[Connection]:
        """Lend a connection inside a transaction, which is undone when the block raises.

        On a `tenant`'s behalf, PostgreSQL shows it nothing but that tenant's rows.

        Raises:
            UnavailableError: PostgreSQL is away; a COMMIT on its way has an unknown outcome.
        """
        async with self.connection(tenant) as conn:
            await query.run(conn, "begin", "BEGIN")
            try:
                yield conn
            except BaseException:
                await _roll_back(conn)
                raise
            ended = await query.run(conn, "commit", "COMMIT")
            if ended.statusmessage != "COMMIT":
                # PostgreSQL answers COMMIT with ROLLBACK when a statement had failed before.
                raise RuntimeError("the block went on after one of its statements had failed")

    def sample(self) -> None:
        """Tell the observer how many connections are in each state."""
        if not self._gauged:
            return
        stats = self._connections.get_stats()
        # The pool's own size counts connections that are still being opened.
        self._observer.tell(
            PoolSampled(
                used=self._lent, idle=stats["pool_available"], waiting=stats["requests_waiting"]
            )
        )

    async def _configure(self, conn: Connection) -> None:
        conn.observer = self._observer
        conn.deadline_s = self._deadline_s
        query.adapt(conn)
        applied = await query.execute(
            conn,
            _CONFIGURE,
            names=list(self._settings),
            values=list(self._settings.values()),
            pid=conn.pgconn.backend_pid,
        )
        if not applied:
            # A pooler: the next statement may reach a server connection that has not prepared it.
            conn.prepare_threshold = None

    async def _check(self, conn: Connection) -> None:
        try:
            # An idle connection that the server closed has its farewell and the end of stream to
            # read: two reads that never block, where the usual check costs a round trip.
            conn.pgconn.consume_input()
            conn.pgconn.consume_input()
        except psycopg.OperationalError:
            # Most likely all of them are gone; found one by one they would be paused for each.
            await self._connections.check()
            raise


def connection_string(dsn: str, name: str) -> str:
    """Complete a DSN with what finds dead peers; what the DSN says itself stays.

    But for the encoding, which may come from PGCLIENTENCODING, the role or the database as well: we
    write UTF-8. Nothing goes into startup `options`: a pooler refuses them.
    """
    given = conninfo_to_dict(dsn)
    defaults = {"application_name": name, **_NETWORK}
    added = {key: defaults[key] for key in defaults if key not in given}
    return make_conninfo(dsn, client_encoding="UTF8", **added)


async def wait_for_database(dsn: str, *, retries: int, delay_s: float) -> None:
    """Wait until PostgreSQL takes connections, trying `retries` times, `delay_s` seconds apart.

    Raises:
        UnavailableError: it took none; the message has host, port and the last reason.
    """
    host, port = describe_target(dsn)
    conninfo = connection_string(dsn, "signalstack")
    reason = "not tried"
    for attempt in range(1, retries + 1):
        try:
            connection = await psycopg.AsyncConnection.connect(conninfo)
        except psycopg.OperationalError as error:
            reason = describe_reason(error, dsn)
        else:
            await connection.close()
            return
        _log.warning(
            "database_away", attempt=attempt, of=retries, host=host, port=port, reason=reason
        )
        if attempt < retries:
            await anyio.sleep(delay_s)
    raise UnavailableError(
        f"PostgreSQL at {host}, port {port}, took no connection in {retries} tries: {reason}"
    )


async def why_unreachable(dsn: str) -> str | None:
    """Tell why PostgreSQL takes no new connection, or None when it does."""
    try:
        connection = await psycopg.AsyncConnection.connect(connection_string(dsn, "signalstack"))
    except psycopg.OperationalError as error:
        return explain_refusal(error, dsn)
    await connection.close()
    return None


async def _roll_back(conn: Connection) -> None:
    try:
        await query.run(conn, "rollback", "ROLLBACK")
    except UnavailableError:
        # PostgreSQL undoes it when the connection goes; the first error is the one to tell.
        await conn.close()


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
