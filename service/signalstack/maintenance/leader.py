"""The one process that keeps house for all, chosen by a lease in the database.

Two leaders, or none for a while, do no harm: every chore is idempotent and takes its own locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from signalstack.core.errors import UnavailableError
from signalstack.core.ids import new_id
from signalstack.core.log import get_logger
from signalstack.core.stage import LeaderChanged, Rescued
from signalstack.store import chores

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from signalstack.core.stage import Observer
    from signalstack.store.pool import Pool
    from signalstack.store.query import Connection

LEASE_S: Final = 10.0
RENEW_S: Final = 3.0
BATCH: Final = 10_000  # rows that one statement sums up or forgets
RETRY_S: Final = 5.0
ROLL_UP_S: Final = 5.0
EXPIRE_S: Final = 60.0
PARTITIONS_S: Final = 3_600.0
PARTITION_DAYS: Final = 3
ORPHANS_S: Final = 600.0
# A claim that raced with a rescue has ended by then: statements have a shorter deadline.
ORPHANS_AFTER_RESCUE_S: Final = 15.0
# A lease is over a moment after its time, and not before; who stands by leaves it to the leader.
MARGIN_S: Final = 0.05
STANDBY_MARGIN_S: Final = 0.5

Result = TypeVar("Result")

_log: Final = get_logger("signalstack.maintenance")


class Maintenance:
    """Stands for leader, and does the chores while it is."""

    def __init__(self, pool: Pool, observer: Observer) -> None:
        self._pool = pool
        self._observer = observer
        self._id = new_id()
        self._buried = anyio.Event()

    async def run(self) -> None:
        """Stand for leader until cancelled, then resign."""
        self._observer.tell(LeaderChanged(leading=False))
        try:
            while True:
                standing = await self._stand()
                if standing is None:
                    await anyio.sleep(RENEW_S)
                elif standing.term is None:
                    # Not only the leader rescues: it may be the one that died.
                    await self._rescue_in_time(standing.next_end_s, STANDBY_MARGIN_S)
                else:
                    await self._serve(standing)
        finally:
            with anyio.move_on_after(LEASE_S, shield=True):
                await self._attempt(lambda conn: chores.resign(conn, holder=self._id))

    async def _serve(self, standing: chores.Standing) -> None:
        """Do the chores for as long as the lease is renewed."""
        self._observer.tell(LeaderChanged(leading=True))
        try:
            async with anyio.create_task_group() as tasks:
                for interval_s, chore in self._chores():
                    tasks.start_soon(self._repeat, interval_s, chore)
                tasks.start_soon(self._look_for_orphans)
                await self._hold(standing)
                tasks.cancel_scope.cancel()
        finally:
            self._observer.tell(LeaderChanged(leading=False))

    async def _hold(self, standing: chores.Standing) -> None:
        """Renew until another one leads, or that has failed for the length of a lease."""
        ends_at = anyio.current_time() + LEASE_S
        while True:
            await self._rescue_in_time(standing.next_end_s, MARGIN_S)
            renewed_at = anyio.current_time()
            renewed = await self._stand()
            if renewed is not None and renewed.term is None:
                return
            if renewed is not None:
                standing, ends_at = renewed, renewed_at + LEASE_S
            elif anyio.current_time() > ends_at:
                return

    async def _rescue_in_time(self, next_end_s: float | None, margin_s: float) -> None:
        """Wait until the next renewal; rescue in between when a worker's lease ends."""
        until = anyio.current_time() + RENEW_S
        while next_end_s is not None and next_end_s + margin_s < until - anyio.current_time():
            await anyio.sleep(max(next_end_s, 0.0) + margin_s)
            rescued = await self._attempt(lambda conn: self._rescue(conn, orphans=False))
            next_end_s = None if rescued else RENEW_S / 3
        await anyio.sleep(max(until - anyio.current_time(), 0.0))

    async def _rescue(self, conn: Connection, *, orphans: bool) -> bool:
        done = await chores.rescue(conn, orphans=orphans)
        if done.workers or done.rescued or done.failed:
            self._observer.tell(Rescued(count=done.rescued + done.failed))
            _log.warning(
                "workers_lost", workers=done.workers, rescued=done.rescued, failed=done.failed
            )
        if done.workers:
            self._buried.set()
        return done.workers > 0

    async def _look_for_orphans(self) -> None:
        """Take back what a worker claimed in the moment in which it was given up for dead."""
        while True:
            await self._attempt(lambda conn: self._rescue(conn, orphans=True))
            self._buried = anyio.Event()
            with anyio.move_on_after(ORPHANS_S):
                await self._buried.wait()
                await anyio.sleep(ORPHANS_AFTER_RESCUE_S)

    def _chores(self) -> list[tuple[float, Callable[[Connection], Awaitable[int]]]]:
        return [
            (PARTITIONS_S, lambda conn: chores.make_partitions(conn, days=PARTITION_DAYS)),
            (ROLL_UP_S, lambda conn: chores.roll_up(conn, limit=BATCH)),
            (EXPIRE_S, lambda conn: chores.expire_idempotency(conn, limit=BATCH)),
        ]

    async def _repeat(
        self, interval_s: float, chore: Callable[[Connection], Awaitable[int]]
    ) -> None:
        while True:
            done = await self._attempt(chore)
            if done is None:
                # An hour without new partitions, say, is too long for a moment's contention.
                await anyio.sleep(min(interval_s, RETRY_S))
            elif done >= BATCH:
                continue  # there is more: left for the next time, it would pile up
            else:
                await anyio.sleep(interval_s)

    async def _stand(self) -> chores.Standing | None:
        return await self._attempt(lambda conn: chores.lead(conn, holder=self._id, lease_s=LEASE_S))

    async def _attempt(self, chore: Callable[[Connection], Awaitable[Result]]) -> Result | None:
        """Do a chore; when PostgreSQL is away it is left for the next time."""
        try:
            async with self._pool.connection() as conn:
                return await chore(conn)
        except UnavailableError as error:
            _log.warning("chore_put_off", error=str(error))
            return None
