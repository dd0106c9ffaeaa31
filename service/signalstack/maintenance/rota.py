"""The rota: which chores the leader has, and how often it does each."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from signalstack.core.stage import Removed
from signalstack.maintenance import gauges, partitions
from signalstack.maintenance.chore import Chore
from signalstack.maintenance.retention import Retention
from signalstack.store import audit, chores, messages, schedules

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from signalstack.core.stage import Observer
    from signalstack.store.partitions import Keep
    from signalstack.store.pool import Pool
    from signalstack.store.query import Connection

BATCH: Final = 10_000  # rows that one statement sums up or forgets
RETENTION_S: Final = 60.0
TICKS_S: Final = 86_400.0  # how long ticks that were dealt with are kept
ACTS_S: Final = 400 * 86_400.0  # how long the audit log is kept


def make_rota(pool: Pool, observer: Observer, keep: Keep) -> tuple[Chore, ...]:
    """List the chores; those that depend on leases ending are in `rescue`."""

    def chore(name: str, interval_s: float, work: Callable[[Connection], Awaitable[int]]) -> Chore:
        async def run() -> bool:
            async with pool.connection() as conn:
                # A full batch: there is more, and left for the next time it would pile up.
                return await work(conn) >= BATCH

        return Chore(name=name, interval_s=interval_s, run=run)

    async def forget_messages(conn: Connection) -> int:
        if keep.messages_s == inf:
            return 0
        gone = await messages.forget(conn, keep_s=keep.messages_s, limit=BATCH)
        if gone:
            observer.tell(Removed(table="messages", how="deleted", count=gone))
        return gone

    return (
        Chore(name="partitions", interval_s=3_600, run=partial(partitions.make_missing, pool)),
        Chore(name="retention", interval_s=RETENTION_S, run=Retention(pool, observer, keep).run),
        chore("roll_up", 5, lambda c: chores.roll_up(c, limit=BATCH)),
        chore("roll_up_messages", 5, lambda c: messages.roll_up(c, limit=BATCH)),
        chore("forget_messages", 600, forget_messages),
        chore("forget_keys", 60, lambda c: chores.expire_idempotency(c, limit=BATCH)),
        Chore(
            name="queue_gauges",
            interval_s=gauges.QUEUES_S,
            run=partial(gauges.read_queues, pool, observer),
        ),
        Chore(
            name="database_gauges",
            interval_s=gauges.DATABASE_S,
            run=partial(gauges.read_database, pool, observer),
        ),
        chore("forget_acts", 3_600, lambda c: audit.forget(c, keep_s=ACTS_S, limit=BATCH)),
        chore("forget_ticks", 60, lambda c: schedules.forget_ticks(c, keep_s=TICKS_S, limit=BATCH)),
    )
