"""Reports of a tenant's own figures, as CSV and as JSON, against a real database."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from contexts import RunContext
from rows import add_user, connect
from signalstack.core.handler import Fail
from signalstack.core.tally import Tally, Timeseries
from signalstack.handlers import report
from signalstack.handlers.report import GenerateReport, Report
from signalstack.usecases import analytics
from tenants import open_pool

if TYPE_CHECKING:
    from uuid import UUID

    from signalstack.core.period import Bucket

DAY = date(2026, 3, 1)
DAYS = {"from": "2026-03-01", "to": "2026-03-02"}


async def generate(dsn: str, user_id: UUID, **payload: Any) -> Report:
    async with open_pool(dsn) as pool:
        job_type = report.build(
            summarise=partial(analytics.summary, pool), count=partial(analytics.timeseries, pool)
        )
        decoded = msgspec.convert(DAYS | payload, GenerateReport)
        result = await cast("Any", job_type.run)(decoded, RunContext(user_id=user_id))
        return msgspec.json.decode(msgspec.json.encode(result), type=Report)


async def counted(dsn: str) -> UUID:
    """Make a tenant with figures on the first of two days, beside another one with others."""
    async with connect(dsn) as conn:
        users = [await add_user(conn, name) for name in ("acme", "other")]
        for user_id, events in zip(users, (3, 1_000), strict=True):
            await conn.execute(
                "INSERT INTO signalstack.metrics_hourly (user_id, hour, events_received,"
                " jobs_created, jobs_succeeded, jobs_failed, jobs_cancelled)"
                " VALUES (%s, %s, %s, 4, 3, 1, 0)",
                (user_id, datetime(2026, 3, 1, 5, tzinfo=UTC), events),
            )
    return users[0]


async def test_summary_is_one_row_of_the_tenants_own(database_url: str) -> None:
    made = await generate(database_url, await counted(database_url), kind="summary")

    assert made.content_type == "text/csv; charset=utf-8"
    assert made.rows == 1
    (row,) = csv.DictReader(io.StringIO(cast("str", made.content)))
    assert row == {
        "from": "2026-03-01",
        "to": "2026-03-02",
        "events_received": "3",
        "jobs_created": "4",
        "jobs_succeeded": "3",
        "jobs_failed": "1",
        "jobs_cancelled": "0",
        "success_rate": "0.75",
    }


@pytest.mark.parametrize(("bucket", "rows"), [("day", 2), ("hour", 48)])
async def test_series_has_a_row_for_each_bucket(database_url: str, bucket: str, rows: int) -> None:
    user_id = await counted(database_url)

    as_csv = await generate(database_url, user_id, kind="timeseries", bucket=bucket)
    as_json = await generate(database_url, user_id, kind="timeseries", bucket=bucket, format="json")

    assert as_csv.rows == as_json.rows == rows
    assert as_json.content_type == "application/json"
    objects = cast("list[dict[str, Any]]", as_json.content)
    assert sum(row["events_received"] for row in objects) == 3
    lines = list(csv.DictReader(io.StringIO(cast("str", as_csv.content))))
    assert [line["start"] for line in lines] == [row["start"] for row in objects]
    assert sum(int(line["events_received"]) for line in lines) == 3


async def test_report_that_is_too_long_for_a_result_says_what_to_do() -> None:
    async def count(_user: UUID, _from: date, _to: date, bucket: Bucket) -> Timeseries:
        start = datetime.combine(DAY, datetime.min.time(), UTC)
        data = [
            Tally(
                start=start + timedelta(hours=n),
                events_received=10**15,
                jobs_created=10**15,
                jobs_succeeded=10**15,
                jobs_failed=10**15,
                jobs_cancelled=10**15,
            )
            for n in range(5_000)
        ]
        return Timeseries(bucket=bucket, data=data)

    run: Any = report.build(summarise=cast("Any", None), count=count).run
    payload = msgspec.convert(DAYS | {"kind": "timeseries"}, GenerateReport)

    with pytest.raises(Fail, match="narrow the range"):
        await run(payload, RunContext())


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"kind": "pie"}, r"at `\$.kind`"),
        ({"format": "xml"}, r"at `\$.format`"),
        ({"bucket": "week"}, r"at `\$.bucket`"),
        ({"from": "2026-03-01T00:00:00Z"}, r"at `\$.from`"),
        ({"from": "2026-03-03"}, "from: 2026-03-03 is after"),
        ({"to": "2027-03-03"}, "to: 368 days are too many"),
        ({"kind": "timeseries", "bucket": "hour", "to": "2026-04-01"}, "to: 32 days are too many"),
        ({"user_id": "x"}, "unknown field `user_id`"),
    ],
)
def test_report_that_cannot_be_made_is_refused(payload: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert({"kind": "summary"} | DAYS | payload, GenerateReport)
