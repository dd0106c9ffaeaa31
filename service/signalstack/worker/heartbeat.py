"""Keeps the worker's lease, from a thread of its own: a blocked event loop does not lose it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from signalstack.core.errors import UnavailableError
from signalstack.core.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from anyio.abc import TaskStatus

    from signalstack.store.workers import WorkerLease

_AGAIN_S: Final = 1.0
_log: Final = get_logger("signalstack.worker")


class Heartbeat:
    """Renews a lease three times in its length; `worker_id` is the worker's current identity."""

    def __init__(
        self,
        lease: WorkerLease,
        *,
        lease_s: float,
        on_lost: Callable[[], None],
        on_regained: Callable[[], None],
    ) -> None:
        self._lease = lease
        self._interval_s = lease_s / 3
        self._on_lost = on_lost
        self._on_regained = on_regained
        self._stop = threading.Event()
        self._ended = anyio.Event()
        self._leave = False
        self._worker_id: UUID | None = None

    @property
    def worker_id(self) -> UUID:
        """Who this worker is; another one after a lost lease.

        Raises:
            RuntimeError: asked before `run` has started.
        """
        if self._worker_id is None:
            raise RuntimeError("the worker is not registered yet")
        return self._worker_id

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Register, then renew until cancelled; started once registered."""
        loop = asyncio.get_running_loop()
        registered = anyio.Event()

        def say(told: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(told)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._in_thread, say, registered)
            await registered.wait()
            task_status.started()

    async def leave(self) -> None:
        """Give the lease up: everything that was leased is settled or handed back."""
        self._leave = True
        self._stop.set()
        await self._ended.wait()

    async def _in_thread(
        self, say: Callable[[Callable[[], None]], None], registered: anyio.Event
    ) -> None:
        try:
            await anyio.to_thread.run_sync(
                self._beat, say, registered, abandon_on_cancel=True, limiter=_own_thread()
            )
        finally:
            self._stop.set()
            self._ended.set()

    def _beat(self, say: Callable[[Callable[[], None]], None], registered: anyio.Event) -> None:
        self._register()
        say(registered.set)
        wait_s = self._interval_s
        while not self._stop.wait(wait_s):
            wait_s = self._interval_s
            try:
                if not self._lease.renew():
                    _log.error("lease_lost", worker_id=self._worker_id)
                    say(self._on_lost)
                    self._register()
                    say(self._on_regained)
            except UnavailableError as error:
                _log.warning("heartbeat_failed", error=str(error))
                wait_s = min(_AGAIN_S, self._interval_s)
        self._end()

    def _register(self) -> None:
        while not self._stop.is_set():
            try:
                self._worker_id = self._lease.take()
            except UnavailableError as error:
                _log.warning("registration_failed", error=str(error))
                self._stop.wait(_AGAIN_S)
            else:
                return

    def _end(self) -> None:
        try:
            if self._leave:
                self._lease.give_up()
        except UnavailableError as error:
            _log.warning("lease_not_given_up", error=str(error))
        finally:
            self._lease.close()


def _own_thread() -> anyio.CapacityLimiter:
    # Not from the shared pool: plain handlers may have taken all of its threads.
    return anyio.CapacityLimiter(1)
