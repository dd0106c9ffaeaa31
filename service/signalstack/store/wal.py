"""Takes what was committed to the disk: one flush at a time, the next for all who come meanwhile.

A flush takes along what any connection to the same server committed before it. It says nothing of
what was committed before a crash, or on another server: who asks names the connection that was
there when it was sent (`Link.opened`), and hears of a loss if that is there no longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core.errors import UnavailableError
from signalstack.store.link import Call, Link, Statement

if TYPE_CHECKING:
    import asyncio

    from psycopg.pq.abc import PGresult

FLUSH_WAL: Final = Statement("intake/flush_wal")


class WalFlusher:
    """Flushes the write-ahead log over a link; it is `busy` while that waits for the disk."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: list[tuple[asyncio.Future[None], int]] = []
        self.busy = False

    def flush(self, since: int) -> asyncio.Future[None]:
        """Flush what has been committed by now, at once or behind the flush in flight.

        The future fails with UnavailableError when that is not known to be on disk.
        """
        future: asyncio.Future[None] = self._link.new_future()
        self._waiting.append((future, since))
        if not self.busy:
            self._send()
        return future

    def _send(self) -> None:
        self.busy = True
        waiting, self._waiting = self._waiting, []
        opened = self._link.opened
        sent = self._link.send(Call(FLUSH_WAL))
        sent.add_done_callback(lambda done: self._flushed(done, opened, waiting))

    def _flushed(
        self,
        done: asyncio.Future[list[PGresult]],
        opened: int,
        waiting: list[tuple[asyncio.Future[None], int]],
    ) -> None:
        self.busy = False
        fault = done.exception()
        for future, since in waiting:
            if future.done():
                continue
            if fault is not None:
                reason = f"PostgreSQL cannot flush its log: {fault}"
                future.set_exception(UnavailableError(reason))
            elif since != opened:
                reason = "PostgreSQL went away before this was on disk"
                future.set_exception(UnavailableError(reason))
            else:
                future.set_result(None)
        if self._waiting:
            self._send()
