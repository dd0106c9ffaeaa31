"""Analytics over HTTP: what is told, and which questions are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from front import Front, client_of, make_key, open_front
from signalstack.core.key import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PERIOD = "from=2026-02-01&to=2026-02-02"


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url) as front:
        yield front


async def test_a_summary_counts_what_was_taken_in(front: Front) -> None:
    days = {datetime.now(UTC).date().isoformat()}
    await front.client.post("/v1/events", json={"type": "order.paid"})
    for _ in range(2):
        await front.client.post("/v1/jobs", json={"type": "noop"})
    days.add(datetime.now(UTC).date().isoformat())

    query = f"from={min(days)}&to={max(days)}"
    mine = await front.client.get(f"/v1/analytics/summary?{query}")
    theirs = await front.stranger.get(f"/v1/analytics/summary?{query}")

    assert mine.status_code == 200
    assert mine.json() == {
        "from": min(days),
        "to": max(days),
        "events_received": 1,
        "jobs_created": 2,
        "jobs_succeeded": 0,
        "jobs_failed": 0,
        "jobs_cancelled": 0,
        "success_rate": None,
    }
    assert theirs.json() == mine.json() | {"events_received": 0, "jobs_created": 0}


async def test_a_timeseries_has_a_bucket_for_each_day_or_hour(front: Front) -> None:
    daily = await front.client.get(f"/v1/analytics/timeseries?{PERIOD}")
    hourly = await front.client.get(f"/v1/analytics/timeseries?{PERIOD}&bucket=hour")

    assert daily.json() == {
        "bucket": "day",
        "data": [
            {
                "start": f"2026-02-0{day}T00:00:00Z",
                "events_received": 0,
                "jobs_created": 0,
                "jobs_succeeded": 0,
                "jobs_failed": 0,
                "jobs_cancelled": 0,
            }
            for day in (1, 2)
        ],
    }
    assert hourly.json()["bucket"] == "hour"
    assert len(hourly.json()["data"]) == 48
    assert hourly.json()["data"][-1]["start"] == "2026-02-02T23:00:00Z"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", "from"),
        ("from=2026-02-01", "to"),
        ("from=yesterday&to=2026-02-01", "from"),
        ("from=2026-02-01T00:00:00Z&to=2026-02-01", "from"),
        ("from=2026-02-02&to=2026-02-01", "from"),
        ("from=2025-01-01&to=2026-02-01", "to"),
        (PERIOD + "&bucket=week", "bucket"),
        ("from=2026-01-01&to=2026-02-01&bucket=hour", "to"),
        (PERIOD + "&colour=red", "'colour'"),
    ],
)
async def test_a_question_that_cannot_be_answered_names_the_parameter(
    front: Front, query: str, named: str
) -> None:
    answer = await front.client.get(f"/v1/analytics/timeseries?{query}")

    assert answer.status_code == 400
    assert f"query parameter {named}" in answer.json()["detail"]


async def test_a_summary_has_the_same_limits(front: Front) -> None:
    answer = await front.client.get("/v1/analytics/summary?from=2025-01-01&to=2026-01-02")

    assert answer.status_code == 400
    assert (
        answer.json()["detail"] == "query parameter to: 367 days are too many; 366 can be counted"
    )


async def test_only_readers_are_told(front: Front) -> None:
    writer = await make_key(front.pool, "acme", Scope.WRITE)

    async with client_of(front.app, writer) as client:
        statuses = [
            (await client.get(f"/v1/analytics/{kind}?{PERIOD}")).status_code
            for kind in ("summary", "timeseries")
        ]
    refused = await front.anonymous.get(f"/v1/analytics/summary?{PERIOD}")

    assert statuses == [403, 403]
    assert refused.status_code == 401
