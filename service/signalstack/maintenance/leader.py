"""The one process that keeps house for all, chosen by a lease in the database.

Two leaders, or none for a while, do no harm: every chore is idempotent and takes its own locks.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import anyio

from signalstack.core.errors import UnavailableError
from signalstack.core.ids import new_id
from signalstack.core.log import get_logger
from signalstack.core.stage import LeaderChanged
from signalstack.maintenance.chore import repeat
from signalstack.maintenance.rescue import Rescuer
from signalstack.maintenance.retention import FOR_EVER
from signalstack.maintenance.rota import make_rota
from signalstack.store import chores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.core.stage import Observer
    from signalstack.store.partitions import Keep
    from signalstack.store.pool import Pool

# A killed leader is followed when its lease ends. Shorter, and a busy event loop would lose it.
LEASE_S: Final = 5.0
RENEW_S: Final = 1.5
# A lease is over a moment after its time, and not before; who stands by leaves it to the leader.
MARGIN_S: Final = 0.05
STANDBY_MARGIN_S: Final = 0.5

# What only the leader runs: until cancelled, which comes when another one leads.
Loop = Callable[[], Coroutine[Any, Any, None]]

_log: Final = get_logger("signalstack.maintenance")


class Maintenance:
    """Stands for leader; does the chores and runs `loops` while it is.

    Like a chore, a loop must do no harm when two processes run it at once. It ends by cancellation
    alone: what it raises ends the process.
    """

    def __init__(
        self,
        pool: Pool,
        observer: Observer,
        *,
        keep: Keep = FOR_EVER,
        loops: Sequence[Loop] = (),
    ) -> None:
        self._pool = pool
        self._observer = observer
        self._loops = tuple(loops)
        self._rota = make_rota(pool, observer, keep)
        self._rescuer = Rescuer(pool, observer)
        self._id = new_id()
        self._vacant = anyio.Event()

    def stand(self) -> None:
        """Stand now: the leader has resigned. Unheard, that is found out when its lease ends."""
        self._vacant.set()

    async def run(self) -> None:
        """Stand for leader until cancelled, then resign."""
        self._observer.tell(LeaderChanged(leading=False))
        try:
            async with anyio.create_task_group() as tasks:
                # Not only the leader rescues: it may be the one that died.
                tasks.start_soon(self._rescuer.run)
                await self._stand_forever()
        finally:
            with anyio.move_on_after(LEASE_S, shield=True):
                await self._resign()

    async def lead(self) -> None:
        """Do all that the leader does, whoever holds the lease, until cancelled."""
        async with anyio.create_task_group() as tasks:
            for chore in self._rota:
                tasks.start_soon(repeat, chore, self._observer)
            tasks.start_soon(self._rescuer.look_for_orphans)
            for loop in self._loops:
                tasks.start_soon(loop)

    async def _stand_forever(self) -> None:
        while True:
            self._vacant = anyio.Event()
            standing = await self._stand()
            if standing is None:
                await anyio.sleep(RENEW_S)
            elif standing.term is None:
                # No longer than a lease, whatever became of the clock that this one goes by.
                left_s = min(max(standing.lease_left_s or 0.0, 0.0), LEASE_S)
                with anyio.move_on_after(left_s + MARGIN_S):
                    await self._vacant.wait()
            else:
                await self._serve()

    async def _serve(self) -> None:
        """Lead for as long as the lease is renewed."""
        self._observer.tell(LeaderChanged(leading=True))
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.lead)
                await self._hold()
                tasks.cancel_scope.cancel()
        finally:
            self._observer.tell(LeaderChanged(leading=False))

    async def _hold(self) -> None:
        """Renew until another one leads, or that has failed for the length of a lease."""
        ends_at = anyio.current_time() + LEASE_S
        while True:
            await anyio.sleep(RENEW_S)
            renewed_at = anyio.current_time()
            standing = await self._stand()
            if standing is not None and standing.term is None:
                return
            if standing is not None:
                ends_at = renewed_at + LEASE_S
            elif anyio.current_time() > ends_at:
                return

    async def _stand(self) -> chores.Standing | None:
        """Take or renew the lease; None when PostgreSQL is away."""
        try:
            async with self._pool.connection() as conn:
                standing = await chores.lead(conn, holder=self._id, lease_s=LEASE_S)
        except UnavailableError as error:
            _log.warning("lease_not_renewed", error=str(error))
            return None
        margin_s = STANDBY_MARGIN_S if standing.term is None else MARGIN_S
        next_end_s = standing.next_end_s
        self._rescuer.expect(None if next_end_s is None else max(next_end_s, 0.0) + margin_s)
        return standing

    async def _resign(self) -> None:
        try:
            async with self._pool.connection() as conn:
                await chores.resign(conn, holder=self._id)
        except UnavailableError as error:
            _log.warning("lease_not_given_up", error=str(error))
