"""Looking back: how many events and jobs a tenant had, in all and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalstack.core.period import as_one, in_buckets
from signalstack.core.tally import Summary, Timeseries, summarize
from signalstack.store import analytics

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from signalstack.core.period import Bucket
    from signalstack.store.pool import Pool


async def summary(pool: Pool, user_id: UUID, from_: date, to: date) -> Summary:
    """Sum up what happened from one day to another, both included, in UTC.

    Raises:
        InvalidError: the days are in the wrong order, or more than 366.
    """
    period = as_one(from_, to)
    async with pool.connection(user_id) as conn:
        (tally,) = await analytics.count(conn, user_id=user_id, period=period)
    return summarize(tally, from_, to)


async def timeseries(
    pool: Pool, user_id: UUID, from_: date, to: date, bucket: Bucket
) -> Timeseries:
    """Tell what happened in each hour or day from one day to another, both included, in UTC.

    Raises:
        InvalidError: the days are in the wrong order, or more than 366 (by the hour: 31).
    """
    period = in_buckets(from_, to, bucket)
    async with pool.connection(user_id) as conn:
        data = await analytics.count(conn, user_id=user_id, period=period)
    return Timeseries(bucket=bucket, data=data)
