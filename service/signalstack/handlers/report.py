"""The job type `generate_report`: a tenant's own figures over some days, as CSV or JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Final, Literal, assert_never
from uuid import UUID

import msgspec

from signalstack.core.errors import InvalidError
from signalstack.core.handler import Context, Fail, JobType
from signalstack.core.period import Bucket, as_one, in_buckets
from signalstack.core.tally import Summary, Tally, Timeseries

Summarise = Callable[[UUID, date, date], Awaitable[Summary]]
Count = Callable[[UUID, date, date, Bucket], Awaitable[Timeseries]]

MAX_CONTENT_BYTES: Final = 250_000  # a result may have 256 KiB in all


class GenerateReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which figures of which days, both included, in UTC; `bucket` is how a time series is cut."""

    kind: Literal["summary", "timeseries"]
    from_: date = msgspec.field(name="from")
    to: date
    format: Literal["csv", "json"] = "csv"
    bucket: Bucket = Bucket.DAY

    def __post_init__(self) -> None:
        try:
            if self.kind == "summary":
                as_one(self.from_, self.to)
            else:
                in_buckets(self.from_, self.to, self.bucket)
        except InvalidError as error:
            raise ValueError(str(error).lstrip("/")) from error


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result: CSV as text with a line of names first, JSON as it is."""

    content_type: str
    rows: int
    content: str | list[dict[str, object]]


def build(*, summarise: Summarise, count: Count) -> JobType:
    """Make the job type.

    Args:
        summarise: (user_id, from, to) -> the sums of these days.
        count: (user_id, from, to, bucket) -> the same, bucket by bucket.
    """

    async def run(payload: GenerateReport, context: Context) -> Report:
        rows: list[Summary] | list[Tally]
        match payload.kind:
            case "summary":
                rows = [await summarise(context.user_id, payload.from_, payload.to)]
            case "timeseries":
                found = await count(context.user_id, payload.from_, payload.to, payload.bucket)
                rows = found.data
            case _:
                assert_never(payload.kind)
        return _report([msgspec.to_builtins(row) for row in rows], payload.format)

    return JobType(name="generate_report", payload=GenerateReport, run=run, is_async=True)


def _report(rows: list[dict[str, object]], form: Literal["csv", "json"]) -> Report:
    report = (
        Report(content_type="text/csv; charset=utf-8", rows=len(rows), content=_csv(rows))
        if form == "csv"
        else Report(content_type="application/json", rows=len(rows), content=rows)
    )
    if len(msgspec.json.encode(report.content)) > MAX_CONTENT_BYTES:
        raise Fail(f"the report has more than {MAX_CONTENT_BYTES:,} bytes: narrow the range")
    return report


def _csv(rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
