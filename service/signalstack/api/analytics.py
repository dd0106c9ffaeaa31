"""Analytics over HTTP: a summary of some days, and their hours or days one by one."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from signalstack.api.operation import Answer, Call, Operation
from signalstack.core.errors import InvalidError, MalformedError
from signalstack.core.key import Scope
from signalstack.core.period import Bucket
from signalstack.core.tally import Summary, Timeseries
from signalstack.usecases import analytics

if TYPE_CHECKING:
    from collections.abc import Generator


class SummaryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which days are meant: dates in UTC, both included."""

    from_: Annotated[date, msgspec.Meta(description="The first day.")] = msgspec.field(name="from")
    to: Annotated[date, msgspec.Meta(description="The last day.")]


class TimeseriesQuery(SummaryQuery, frozen=True, kw_only=True):
    """Which days are meant, and how they are cut."""

    bucket: Bucket = Bucket.DAY


async def get_summary(call: Call[None, SummaryQuery]) -> Answer:
    """Sum up what happened on the days asked for."""
    asked = call.query
    with _pointing_at_the_query():
        found = await analytics.summary(call.parts.pool, call.user_id, asked.from_, asked.to)
    return Answer(body=found)


async def get_timeseries(call: Call[None, TimeseriesQuery]) -> Answer:
    """Tell what happened in each hour or day asked for."""
    asked = call.query
    with _pointing_at_the_query():
        found = await analytics.timeseries(
            call.parts.pool, call.user_id, asked.from_, asked.to, asked.bucket
        )
    return Answer(body=found)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/analytics/summary",
        summary="Sum up the events and jobs of up to 366 days",
        handler=get_summary,
        query=SummaryQuery,
        answers={200: Summary},
        needs=Scope.READ,
    ),
    Operation(
        method="GET",
        path="/analytics/timeseries",
        summary="Count events and jobs by the day (up to 366) or the hour (up to 31 days)",
        handler=get_timeseries,
        query=TimeseriesQuery,
        answers={200: Timeseries},
        needs=Scope.READ,
    ),
)


@contextmanager
def _pointing_at_the_query() -> Generator[None]:
    """Tell a fault of the days as any other one of the query string, with the parameter's name."""
    try:
        yield
    except InvalidError as error:
        fault = error.faults[0]
        raise MalformedError(
            f"query parameter {fault.pointer.removeprefix('/')}: {fault.detail}"
        ) from None
