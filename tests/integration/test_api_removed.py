"""What callers get who still know of what retention removed: 404s, short lists, never a 500."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import anyio
import pytest

from contexts import Witness
from front import Front, open_front
from rows import connect, value
from signalstack.maintenance import retention
from signalstack.maintenance.retention import Retention
from signalstack.store.partitions import Keep

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx2

    from rows import Database

DAY_S: Final = 86_400.0
KEEP: Final = Keep(
    succeeded_s=DAY_S,
    failed_s=DAY_S,
    cancelled_s=7 * DAY_S,
    events_s=20 * DAY_S,
    messages_s=20 * DAY_S,
)
_AGE_JOB: Final = """
    UPDATE signalstack.finished_jobs
    SET id = %(old)s, finished_at = now() - %(days)s * interval '1 day'
    WHERE id = %(id)s
"""
_AGE_EVENT: Final = """
    UPDATE signalstack.events
    SET id = %(old)s, created_at = now() - %(days)s * interval '1 day'
    WHERE id = %(id)s
"""
_AGE_REFERENCE: Final = """
    UPDATE signalstack.events
    SET job_ids = array_replace(job_ids, %(id)s, %(old)s)
"""
_AGE_KEY: Final = "UPDATE signalstack.idempotency SET ref = %(old)s WHERE ref = %(id)s"
_MAKE_DAY: Final = """
    SELECT signalstack.make_partition(p, (now() AT TIME ZONE 'UTC')::date - %s)
    FROM unnest(ARRAY['events', 'finished_jobs', 'attempts']) AS p
"""


class Past:
    """A front door, and a hand that makes what came in through it look older."""

    def __init__(self, front: Front, db: Database) -> None:
        self.front = front
        self.client = front.client
        self.db = db

    async def post(self, path: str, body: Any, **headers: str) -> dict[str, Any]:
        """Send something that is taken."""
        answer = await self.client.post(f"/v1/{path}", json=body, headers=headers)
        assert answer.status_code == 201
        return answer.json()

    async def cancelled(self, days_ago: float, **headers: str) -> str:
        """Make a job that was cancelled so many days ago."""
        made = await self.post("jobs", {"type": "noop", "delay_s": 60}, **headers)
        return await self.cancel(made["id"], days_ago)

    async def cancel(self, job_id: str, days_ago: float) -> str:
        """Cancel a job as if it had been made and cancelled so many days ago."""
        await self.client.post(f"/v1/jobs/{job_id}/cancel")
        old = _older(job_id, days_ago)
        known = {"old": old, "days": days_ago, "id": UUID(job_id)}
        for update in (_AGE_JOB, _AGE_REFERENCE, _AGE_KEY):
            await self.db.execute(update, known)
        return str(old)

    async def age_event(self, event_id: str, days_ago: float) -> str:
        """Let an event have come in so many days ago."""
        old = _older(event_id, days_ago)
        known = {"old": old, "days": days_ago, "id": UUID(event_id)}
        for update in (_AGE_EVENT, _AGE_KEY):
            await self.db.execute(update, known)
        return str(old)

    async def retain(self) -> None:
        """Remove all that is over."""
        chore = Retention(self.front.pool, Witness(), KEEP)
        with anyio.fail_after(20):
            while await chore.run():
                pass

    async def make_day(self, days_ago: int) -> None:
        """Make the partitions of a day, so that it may go as a whole."""
        await self.db.execute(_MAKE_DAY, (days_ago,))


@pytest.fixture
async def past(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Past]:
    monkeypatch.setattr(retention, "IDLE_SHARE", 0.0)
    async with open_front(database_url) as front, connect(database_url) as db:
        yield Past(front, db)


def _older(known: str, days_ago: float) -> UUID:
    """Move the time in a UUIDv7 back."""
    back_ms = timedelta(days=days_ago) // timedelta(milliseconds=1)
    return UUID(int=UUID(known).int - (back_ms << 80))


async def _subscribe(past: Past, count: int) -> None:
    for n in range(count):
        job = {"type": "noop", "delay_s": 60}
        await past.post("subscriptions", {"name": f"s{n}", "event_type": "old", "job": job})


@pytest.mark.parametrize("has_day", [True, False], ids=["dropped with its day", "deleted alone"])
async def test_whatever_is_asked_of_a_removed_job_it_is_unknown(
    past: Past, *, has_day: bool
) -> None:
    if has_day:
        await past.make_day(40)
    job = await past.cancelled(40)
    assert (await past.client.get(f"/v1/jobs/{job}")).status_code == 200

    await past.retain()

    requests: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("GET", "?wait=30", None),
        ("GET", "/attempts", None),
        ("GET", "/timeline", None),
        ("GET", "/stream", None),
        ("PATCH", "", {"priority": 1}),
        ("POST", "/cancel", None),
        ("POST", "/retry", None),
        ("DELETE", "", None),
    ]
    answers = [
        await past.client.request(method, f"/v1/jobs/{job}{path}", json=body)
        for method, path, body in requests
    ]
    assert [answer.status_code for answer in answers] == [404] * len(requests)
    problem = {"content-type": "application/problem+json"}
    assert all(answer.headers.items() >= problem.items() for answer in answers)


async def test_event_lists_those_of_its_jobs_that_are_left(past: Past) -> None:
    await _subscribe(past, 3)
    event = await past.post("events", {"type": "old"})
    first, second, third = (job["id"] for job in event["jobs"])
    await past.cancel(second, 40)
    kept = await past.cancel(third, 3)

    await past.retain()

    found = await past.client.get(f"/v1/events/{event['id']}")
    assert [job["id"] for job in found.json()["jobs"]] == [first, kept]


async def test_event_that_was_removed_is_unknown_and_its_jobs_are_not(past: Past) -> None:
    await _subscribe(past, 1)
    event = await past.post("events", {"type": "old"})
    (job,) = event["jobs"]
    old = await past.age_event(event["id"], 40)

    await past.retain()

    assert (await past.client.get(f"/v1/events/{old}")).status_code == 404
    found = await past.client.get(f"/v1/jobs/{job['id']}")
    assert (found.status_code, found.json()["event_id"]) == (200, event["id"])


async def _is_refused(answer: httpx2.Response, *, about: str) -> None:
    assert answer.status_code == 409
    assert "accepted before" in answer.json()["detail"]
    assert about in answer.json()["detail"]


async def test_key_whose_job_was_removed_makes_no_second_one(past: Past) -> None:
    # A key is forgotten after a day, jobs not before: only a clock set wrong, or a hand, does this.
    headers = {"Idempotency-Key": "once"}
    removed = await past.cancelled(40, **headers)
    await past.retain()

    body = {"type": "noop", "delay_s": 60}
    again = await past.client.post("/v1/jobs", json=body, headers=headers)
    waiting = await past.client.post(
        "/v1/jobs", json=body, headers={**headers, "Prefer": "wait=30"}
    )
    other = await past.client.post("/v1/jobs", json={"type": "noop"}, headers=headers)

    await _is_refused(again, about=removed)
    await _is_refused(waiting, about=removed)
    assert other.status_code == 422
    assert await value(past.db, "SELECT count(*) FROM signalstack.jobs") == 0


async def test_key_whose_job_was_hidden_makes_no_second_one(past: Past) -> None:
    headers = {"Idempotency-Key": "once"}
    hidden = await past.cancelled(0, **headers)
    await past.client.delete(f"/v1/jobs/{hidden}")

    again = await past.client.post(
        "/v1/jobs", json={"type": "noop", "delay_s": 60}, headers=headers
    )

    await _is_refused(again, about=hidden)


async def test_known_event_that_was_removed_makes_no_jobs_again(past: Past) -> None:
    await _subscribe(past, 1)
    named = {"type": "old", "id": "e-1", "source": "/s"}
    removed = await past.age_event((await past.post("events", named))["id"], 40)
    keyed = await past.post("events", {"type": "old"}, **{"Idempotency-Key": "once"})
    removed_too = await past.age_event(keyed["id"], 40)
    await past.retain()

    by_id = await past.client.post("/v1/events", json=named)
    by_key = await past.client.post(
        "/v1/events", json={"type": "old"}, headers={"Idempotency-Key": "once"}
    )

    await _is_refused(by_id, about=removed)
    await _is_refused(by_key, about=removed_too)
    assert await value(past.db, "SELECT count(*) FROM signalstack.jobs") == 2


@pytest.mark.parametrize("path", ["jobs", "events"])
async def test_pages_go_on_below_a_day_that_was_dropped_in_between(past: Past, path: str) -> None:
    await past.make_day(40)
    ages = (60, 40.0001, 40, 3, 2, 1)
    if path == "jobs":
        ids = [await past.cancelled(age) for age in ages]
    else:
        sent = [(await past.post("events", {"type": "old"}), age) for age in ages]
        ids = [await past.age_event(event["id"], age) for event, age in sent]
    # The page ends between two that go with their day; the oldest has no day.
    page = await past.client.get(f"/v1/{path}", params={"limit": 4})
    assert [one["id"] for one in page.json()["data"]] == ids[:1:-1]

    await past.retain()

    cursor = page.json()["next_cursor"]
    rest = await past.client.get(f"/v1/{path}", params={"limit": 4, "cursor": cursor})
    anew = await past.client.get(f"/v1/{path}")
    assert (rest.status_code, rest.json()) == (200, {"data": [], "next_cursor": None})
    assert [one["id"] for one in anew.json()["data"]] == ids[:2:-1]
