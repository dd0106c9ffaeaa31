"""Tables metrics_hourly and metrics_delta, read as one: what was counted, summed up or not yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core.tally import Tally
from signalstack.store.query import Query, fetch_all

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.core.period import Period
    from signalstack.store.query import Connection

_COUNT: Final = Query("analytics/count", Tally)


async def count(conn: Connection, *, user_id: UUID, period: Period) -> list[Tally]:
    """Count what happened to the tenant in each bucket of a period, oldest first."""
    return await fetch_all(
        conn,
        _COUNT,
        user_id=user_id,
        first=period.first,
        last=period.last,
        step_s=period.step.total_seconds(),
    )
