"""What was counted of a tenant's events and jobs: in all, and bucket by bucket."""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from signalstack.core.period import Bucket


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in the bucket that begins at `start`."""

    start: datetime
    events_received: int
    jobs_created: int
    jobs_succeeded: int
    jobs_failed: int
    jobs_cancelled: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What happened from one day to another, both included, in UTC.

    `success_rate` is the share of jobs that succeeded among those that succeeded or failed, None
    where there are neither.
    """

    from_: date = msgspec.field(name="from")
    to: date
    events_received: int
    jobs_created: int
    jobs_succeeded: int
    jobs_failed: int
    jobs_cancelled: int
    success_rate: float | None


class Timeseries(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in each bucket, oldest first, empty ones included."""

    bucket: Bucket
    data: list[Tally]


def summarize(tally: Tally, from_: date, to: date) -> Summary:
    """Make the summary of days that were counted as one bucket."""
    ended = tally.jobs_succeeded + tally.jobs_failed
    return Summary(
        from_=from_,
        to=to,
        events_received=tally.events_received,
        jobs_created=tally.jobs_created,
        jobs_succeeded=tally.jobs_succeeded,
        jobs_failed=tally.jobs_failed,
        jobs_cancelled=tally.jobs_cancelled,
        success_rate=tally.jobs_succeeded / ended if ended else None,
    )
