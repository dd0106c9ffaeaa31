"""Removes what is older than it is to be kept: partitions as a whole, the rest piece by piece.

Partitions are walked block by block, so no index is needed, a piece costs the same however much
there is, and a fifth of the time is spent at most. A walk tells when the next row will be over:
before that the partition is left alone. One in which nothing is left to keep is detached; what was
put there in that moment is carried on to the default partition before it is dropped.
"""

from __future__ import annotations

from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.log import get_logger
from signalstack.core.stage import Removed
from signalstack.store import chores, partitions
from signalstack.store.partitions import Keep

if TYPE_CHECKING:
    from signalstack.core.stage import Observer
    from signalstack.store.partitions import Action, Partition, Pruned
    from signalstack.store.pool import Pool

FOR_EVER: Final = Keep(succeeded_s=inf, failed_s=inf, cancelled_s=inf, events_s=inf, messages_s=inf)
BLOCKS: Final = 256  # of 8 KiB, some 10,000 rows
IDLE_SHARE: Final = 4.0  # pauses, in times of the work before
DAY_S: Final = 86_400.0
# A partition is read again for the sake of single rows no more often than this.
AGAIN_S: Final = 3_600.0
AT_LEAST_S: Final = 21_600.0
LOCK_S: Final = 0.2
STATEMENT_S: Final = 5.0

_log: Final = get_logger("signalstack.maintenance")


class Walk:
    """How far the walk through a partition is, and what it found."""

    def __init__(self) -> None:
        self.block = 0
        self.expired = 0
        self.kept = 0
        self.next_s = inf
        self.removing = False
        self.due_at = 0.0

    def add(self, piece: Pruned) -> None:
        """Note what a piece held."""
        self.block += BLOCKS
        self.expired += piece.expired
        self.kept += piece.kept
        self.next_s = min(self.next_s, inf if piece.next_s is None else piece.next_s)

    def begin_anew(self, *, after_s: float, removing: bool) -> None:
        """Be due again after so many seconds."""
        self.__init__()
        self.due_at, self.removing = anyio.current_time() + after_s, removing


class Retention:
    """Keeps in memory how far it is; a new leader begins anew, and finds little left to do."""

    def __init__(self, pool: Pool, observer: Observer, keep: Keep) -> None:
        self._pool = pool
        self._observer = observer
        self._keep = keep
        self._walks: dict[tuple[str, bool], Walk] = {}
        self._seen: set[str] = set()
        self._failed: dict[str, Exception] = {}
        self._shortest_s = min(keep.succeeded_s, keep.failed_s, keep.cancelled_s)
        self._longest_s = max(keep.succeeded_s, keep.failed_s, keep.cancelled_s)

    async def run(self) -> bool:
        """Do one piece, and rest; tell whether there is more.

        A partition that fails keeps no other from its turn: it is left alone until nothing else is
        due, and then the first error is raised.
        """
        began = perf_counter()
        async with self._pool.connection() as conn:
            found = await partitions.list_all(conn)
        self._seen = {partition.child for partition in found}
        for partition in found:
            # Another leader may detach what this one walks through: that is walked anew.
            walk = self._walks.setdefault((partition.child, partition.attached), Walk())
            if partition.child not in self._failed and self._is_due(partition, walk):
                try:
                    await self._step(partition, walk)
                except Exception as error:  # noqa: BLE001 - whatever it is, others may be done
                    self._failed[partition.child] = error
                    continue
                await anyio.sleep(IDLE_SHARE * (perf_counter() - began))
                return True
        failed, self._failed = list(self._failed.values()), {}
        if failed:
            raise failed[0]
        known = [(p.child, p.attached) for p in found]
        self._walks = {key: self._walks[key] for key in known}
        return False

    def _is_due(self, partition: Partition, walk: Walk) -> bool:
        if not partition.attached:
            return True
        # Nothing in it can be older than its day.
        age_s = inf if partition.age_s is None else partition.age_s
        events = partition.parent == "events"
        shortest_s = self._keep.events_s if events else self._shortest_s
        return age_s > shortest_s != inf and anyio.current_time() >= walk.due_at

    async def _step(self, partition: Partition, walk: Walk) -> None:
        if not partition.attached:
            await self._clear_away(partition, walk)
        elif self._is_over_by_its_name(partition):
            # Events are as old as their ids, so there is nothing to look for.
            if await self._detach(partition):
                await self._drop(partition, partition.estimate)
        elif walk.block < partition.blocks:
            walk.removing = walk.removing or not self._may_go_as_a_whole(partition)
            piece = await self._prune(partition, walk, "remove" if walk.removing else "look")
            if walk.removing and piece.expired:
                self._tell(partition, "deleted", piece.expired)
        else:
            await self._conclude(partition, walk)

    async def _conclude(self, partition: Partition, walk: Walk) -> None:
        """Decide what becomes of a partition that was walked through."""
        over = partition.age_s is not None and partition.age_s > 2 * DAY_S
        if over and walk.kept == 0 and not self._is_needed(partition):
            await self._detach(partition)
            return
        if not walk.removing and walk.expired:
            # Some rows are to stay after all, so the others go one by one.
            walk.begin_anew(after_s=0, removing=True)
            return
        # What comes in from now on is kept for the shortest time at least.
        after_s = max(min(walk.next_s, self._shortest_s, AT_LEAST_S), AGAIN_S)
        walk.begin_anew(after_s=after_s, removing=False)

    async def _clear_away(self, partition: Partition, walk: Walk) -> None:
        """Carry on what slipped in before a partition was detached, then drop it."""
        if walk.block < partition.blocks:
            await self._prune(partition, walk, "carry")
        else:
            await self._drop(partition, walk.expired)

    async def _prune(self, partition: Partition, walk: Walk, action: Action) -> Pruned:
        async with self._pool.transaction() as conn:
            await chores.hurry(conn, lock_s=LOCK_S, statement_s=STATEMENT_S)
            piece = await partitions.prune(
                conn, partition, self._keep, first=walk.block, blocks=BLOCKS, action=action
            )
        walk.add(piece)
        return piece

    async def _detach(self, partition: Partition) -> bool:
        async with self._pool.transaction() as conn:
            await chores.hurry(conn, lock_s=LOCK_S, statement_s=STATEMENT_S)
            return await partitions.detach(conn, partition)

    async def _drop(self, partition: Partition, rows: int) -> None:
        async with self._pool.transaction() as conn:
            await chores.hurry(conn, lock_s=LOCK_S, statement_s=STATEMENT_S)
            dropped = await partitions.drop(conn, partition)
        if dropped:
            self._tell(partition, "dropped_partition", rows)
            _log.info("partition_dropped", partition=partition.child, rows=rows)

    def _tell(self, partition: Partition, how: str, count: int) -> None:
        self._observer.tell(
            Removed(
                table=partition.parent,
                how="deleted" if how == "deleted" else "dropped_partition",
                count=count,
            )
        )

    def _is_over_by_its_name(self, partition: Partition) -> bool:
        age_s = partition.age_s
        return (
            partition.parent == "events"
            and age_s is not None
            and age_s - DAY_S > self._keep.events_s
        )

    def _may_go_as_a_whole(self, partition: Partition) -> bool:
        """Tell whether all rows of a partition may be over, unless jobs ended late."""
        age_s = partition.age_s
        return (
            partition.parent == "finished_jobs"
            and age_s is not None
            and age_s - DAY_S > self._longest_s
        )

    def _is_needed(self, partition: Partition) -> bool:
        """Tell whether more rows will come: jobs of that day may still be retried."""
        jobs = f"finished_jobs_{partition.child.rpartition('_')[2]}"
        return partition.parent == "attempts" and jobs in self._seen
