"""One PostgreSQL connection that the event loop drives itself: the dispatch path's way to it.

It speaks libpq's pipeline mode through `psycopg.pq`: a batch of prepared statements is one round
trip and one transaction. Notifications are handed on the moment their bytes arrive. A caller that
is cancelled stops waiting; its statements run to their end and their results are dropped, so
cancellation can neither break the connection nor leave a statement half read.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
import psycopg
from psycopg import pq

from signalstack.core.errors import SignalStackError, UnavailableError
from signalstack.core.stage import DatabaseReached, Queried
from signalstack.store.outage import STANDBY, explain_refusal
from signalstack.store.pool import EXPECTED, connection_string
from signalstack.store.query import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from anyio.abc import TaskStatus
    from psycopg.pq.abc import PGconn, PGresult

    from signalstack.core.stage import Observer

_RECONNECT_DELAYS_S: Final = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
# A connection that was lost sooner counts as a failed try.
_STEADY_S: Final = 1.0
# uvloop forgets a reader whose socket has an error (POLLERR: a reset, a TCP timeout) without
# calling it, so the socket is looked at besides.
_LOOK_S: Final = 0.25
_READ_ONLY: Final = psycopg.errors.ReadOnlySqlTransaction.sqlstate


class StatementError(SignalStackError):
    """PostgreSQL refused a statement; its whole batch was rolled back."""

    def __init__(self, sqlstate: str, detail: str) -> None:
        super().__init__(detail)
        self.sqlstate = sqlstate

    @property
    def queue_is_full(self) -> bool:
        """Whether the queue of notifications is full: a 54000, but no row is to blame."""
        return "NOTIFY" in str(self)


class Statement(msgspec.Struct, frozen=True):
    """A file of sql/queries with `$n` parameters, named as in "dispatch/claim".

    A batch is told under the name of its first one, or of the second where the first stands `aside`
    and only serves it.
    """

    name: str
    aside: bool = False

    @property
    def text(self) -> str:
        """The statement; it is prepared when a link opens."""
        return read(self.name)


class Call(msgspec.Struct, frozen=True):
    """One statement with its parameters in binary format."""

    statement: Statement
    parameters: Sequence[bytes | None] = ()


class _Batch:
    """What one round trip waits for."""

    __slots__ = ("calls", "error", "expiry", "future", "results", "sent_at")

    def __init__(self, calls: Sequence[Call], future: asyncio.Future[list[PGresult]]) -> None:
        self.calls = calls
        self.future = future
        self.results: list[PGresult] = []
        self.error: StatementError | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.sent_at = perf_counter()

    @property
    def query(self) -> str:
        first = self.calls[1 if self.calls[0].statement.aside else 0]
        return first.statement.name


class Link:
    """A connection that is reopened when it is lost; every batch in flight then fails.

    `opened` counts the connections that there were. `server` is where the last one leads: it tells
    one server from another, as after a failover.
    """

    def __init__(
        self,
        name: str,
        dsn: str,
        statements: Iterable[Statement],
        observer: Observer,
        *,
        settings: Mapping[str, str] | None = None,
        channels: Sequence[str] = (),
        on_notify: Callable[[str, str], None] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._name = name
        self._dsn = dsn
        self._statements = tuple(statements)
        self._observer = observer
        self._settings = {**EXPECTED, **(settings or {})}
        self._channels = tuple(channels)
        self._on_notify = on_notify
        self._timeout_s = timeout_s
        self._connection: psycopg.AsyncConnection | None = None
        self._pg: PGconn | None = None
        self._fd = -1
        self._batches: deque[_Batch] = deque()
        self._lost = anyio.Event()
        self._writing = False
        self._answered_at = 0.0
        self.reason = "not connected yet"
        self.pooled = False
        self.backend_pid = 0
        self.opened = 0
        self.server = ""

    @property
    def up(self) -> bool:
        """Whether the link is open."""
        return self._pg is not None

    async def keep(
        self,
        *,
        on_change: Callable[[str | None], None] | None = None,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Open the link, and again whenever it is lost, until cancelled; started when first open.

        `on_change` is called with None after each opening, with the reason after each loss.
        """

        def changed(reason: str | None) -> None:
            self._observer.tell(DatabaseReached(name=self._name, up=reason is None))
            if on_change is not None:
                on_change(reason)

        tries = 0
        first = True
        try:
            while True:
                await anyio.sleep(_RECONNECT_DELAYS_S[min(tries, len(_RECONNECT_DELAYS_S) - 1)])
                try:
                    await self.open()
                except UnavailableError as error:
                    tries += 1
                    changed(str(error))
                    continue
                opened_at = anyio.current_time()
                tries += 1
                if first:
                    task_status.started()
                    first = False
                changed(None)
                await self._until_lost()
                if anyio.current_time() - opened_at > _STEADY_S:
                    tries = 0
                changed(self.reason)
        finally:
            self.drop("closed")

    async def open(self) -> None:
        """Connect, apply the session settings, prepare every statement, and LISTEN.

        Raises:
            UnavailableError: PostgreSQL cannot be reached or refuses.
            StatementError: a statement does not fit the schema.
        """
        try:
            connection = await psycopg.AsyncConnection.connect(
                connection_string(self._dsn, f"signalstack {self._name}"),
                autocommit=True,
                prepare_threshold=None,
            )
        except psycopg.Error as error:
            self.reason = explain_refusal(error, self._dsn)
            raise UnavailableError(self.reason) from error
        try:
            with anyio.fail_after(self._timeout_s):
                await self._prepare_session(connection)
        except TimeoutError:
            await connection.close()
            self.reason = "PostgreSQL did not answer in time while the connection was set up"
            raise UnavailableError(self.reason) from None
        except psycopg.errors.ReadOnlySqlTransaction as error:
            await connection.close()
            self.reason = STANDBY
            raise UnavailableError(self.reason) from error
        except psycopg.OperationalError as error:
            await connection.close()
            self.reason = f"PostgreSQL ended the connection while it was set up: {error}"
            raise UnavailableError(self.reason) from error
        except BaseException:
            with anyio.CancelScope(shield=True):
                await connection.close()
            raise

    def send(self, *calls: Call) -> asyncio.Future[list[PGresult]]:
        """Send a batch as one transaction; the future has a result a call.

        The future fails with UnavailableError when the link is or gets lost (the outcome is then
        unknown), with StatementError when PostgreSQL refuses.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[PGresult]] = loop.create_future()
        pg = self._pg
        if pg is None:
            future.set_exception(UnavailableError(self.reason))
            return future
        batch = _Batch(calls, future)
        try:
            for call in calls:
                self._send_call(pg, call)
            pg.pipeline_sync()
        except psycopg.Error as error:
            self.drop(str(error))
            future.set_exception(UnavailableError(self.reason))
            return future
        batch.expiry = loop.call_later(self._timeout_s, self._expire, batch)
        self._batches.append(batch)
        self._flush()  # which may lose the link, and all that is in flight with it
        return future

    @staticmethod
    def new_future() -> asyncio.Future[Any]:
        """Make a future of the running loop, for what is built on top of `send`."""
        return asyncio.get_running_loop().create_future()

    async def run(self, *calls: Call) -> list[PGresult]:
        """Send a batch and wait for it; see `send`."""
        return await self.send(*calls)

    def drop(self, reason: str) -> None:
        """Close the connection at once and fail what is in flight."""
        pg, connection = self._pg, self._connection
        self._pg = self._connection = None
        if pg is None or connection is None:
            return
        self.reason = reason.strip() or "connection lost"
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        loop.remove_writer(self._fd)
        self._writing = False
        pg.finish()
        while self._batches:
            batch = self._batches.popleft()
            if batch.expiry is not None:
                batch.expiry.cancel()
            if not batch.future.done():
                batch.future.set_exception(UnavailableError(f"PostgreSQL went away: {self.reason}"))
        self._lost.set()

    def _expire(self, batch: _Batch) -> None:
        """Give the connection up, unless the batch waited for others that were answered in time."""
        waited_s = perf_counter() - max(batch.sent_at, self._answered_at)
        left_s = self._timeout_s - waited_s
        if left_s > 0:
            batch.expiry = asyncio.get_running_loop().call_later(left_s, self._expire, batch)
        else:
            self.drop("PostgreSQL did not answer in time")

    async def _until_lost(self) -> None:
        while not self._lost.is_set():
            with anyio.move_on_after(_LOOK_S):
                await self._lost.wait()
            if self._pg is not None and _is_hung_up(self._fd):
                self._on_readable()

    async def _prepare_session(self, connection: psycopg.AsyncConnection) -> None:
        pg = connection.pgconn
        cursor = await connection.execute(
            "SELECT pg_backend_pid(), extract(EPOCH FROM pg_postmaster_start_time())::text"
        )
        self.backend_pid, self.server = await cursor.fetchone() or (0, "")
        # A pooler answers with a process id of its own: behind one, no session state may be set.
        self.pooled = self.backend_pid != pg.backend_pid
        for channel in self._channels:
            await connection.execute(f'LISTEN "{channel}"'.encode())
        if not self.pooled:
            for key, value in self._settings.items():
                await connection.execute("SELECT set_config(%s, %s, false)", (key, value))
            for statement in self._statements:
                await _prepare(connection, statement)
        pg.nonblocking = 1
        pg.enter_pipeline_mode()
        self._pg, self._connection, self._fd = pg, connection, pg.socket
        self.opened += 1
        self._lost = anyio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._on_readable)
        self._take_notifications(pg)

    def _send_call(self, pg: PGconn, call: Call) -> None:
        formats = [1] * len(call.parameters)
        if self.pooled:
            pg.send_query_params(
                call.statement.text.encode(), call.parameters, None, formats, result_format=1
            )
        else:
            pg.send_query_prepared(
                call.statement.name.encode(), call.parameters, formats, result_format=1
            )

    def _flush(self) -> None:
        pg = self._pg
        if pg is None:
            return
        try:
            pending = pg.flush()
        except psycopg.Error as error:
            self.drop(str(error))
            return
        if bool(pending) is self._writing:
            return
        self._writing = not self._writing
        loop = asyncio.get_running_loop()
        if self._writing:
            loop.add_writer(self._fd, self._flush)
        else:
            loop.remove_writer(self._fd)

    def _on_readable(self) -> None:
        pg = self._pg
        if pg is None:
            return
        try:
            pg.consume_input()
            self._take_results(pg)
            if self._pg is pg:
                self._take_notifications(pg)
            if self._writing:
                self._flush()
        except psycopg.Error as error:
            self.drop(str(error))

    def _take_notifications(self, pg: PGconn) -> None:
        while notification := pg.notifies():
            if self._on_notify is not None:
                self._on_notify(
                    notification.relname.decode(), notification.extra.decode(errors="replace")
                )

    def _take_results(self, pg: PGconn) -> None:
        boundaries = 0
        while self._batches and not pg.is_busy():
            result = pg.get_result()
            if result is None:
                # One None ends each statement's results; two in a row: nothing follows any more.
                boundaries += 1
                if boundaries == 2:  # noqa: PLR2004 - said in the line above
                    return
                continue
            boundaries = 0
            batch = self._batches[0]
            status = result.status
            if status == pq.ExecStatus.PIPELINE_SYNC:
                self._batches.popleft()
                self._finish(batch)
            elif status == pq.ExecStatus.FATAL_ERROR:
                batch.error = batch.error or _statement_error(result)
                if batch.error.sqlstate == _READ_ONLY:
                    self.drop(STANDBY)  # another server may take writes by now
            else:
                batch.results.append(result)

    def _finish(self, batch: _Batch) -> None:
        if batch.expiry is not None:
            batch.expiry.cancel()
        self._answered_at = perf_counter()
        duration_s = self._answered_at - batch.sent_at
        self._observer.tell(Queried(query=batch.query, duration_s=duration_s))
        if batch.future.done():
            return
        if batch.error is not None:
            batch.future.set_exception(batch.error)
        else:
            batch.future.set_result(batch.results)


def _is_hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)  # an error and the end are told unasked
    return bool(poll.poll(0))


async def _prepare(connection: psycopg.AsyncConnection, statement: Statement) -> None:
    try:
        await connection.execute(f'PREPARE "{statement.name}" AS {statement.text}'.encode())
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        detail = f"{statement.name}: {error}"
        raise StatementError(error.sqlstate or "XX000", detail) from error


def _statement_error(result: PGresult) -> StatementError:
    sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE) or b"XX000"
    primary = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
    return StatementError(sqlstate.decode(), primary.decode(errors="replace"))
