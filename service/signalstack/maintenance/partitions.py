"""Makes the daily partitions ahead of time, one table and day a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalstack.store import chores, partitions
from signalstack.store.partitions import DAYS, LOCK_S, STATEMENT_S

if TYPE_CHECKING:
    from signalstack.store.pool import Pool


async def make_missing(pool: Pool, *, days: int = DAYS) -> bool:
    """Make the partitions of today and some days ahead; never is more than one table locked.

    One that cannot be made keeps none of the others: the first error is raised behind the last.
    """
    async with pool.connection() as conn:
        missing = await partitions.missing(conn, days=days)
    failed: list[Exception] = []
    for wanted in missing:
        try:
            async with pool.transaction() as conn:
                await chores.hurry(conn, lock_s=LOCK_S, statement_s=STATEMENT_S)
                await partitions.make(conn, wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is, others may be made
            failed.append(error)
    if failed:
        raise failed[0]
    return False
