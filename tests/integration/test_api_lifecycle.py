"""What becomes of jobs over HTTP: lists, attempts, changes, cancelling, retrying, hiding."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import pytest

from front import Front, client_of, make_key, open_front
from recording import RecordingObserver
from rows import add_worker, connect, open_dispatch, rows, value
from signalstack.core.job import Outcome, Wake
from signalstack.core.key import Scope
from signalstack.core.stage import Closed
from signalstack.store.claims import NIL, Lease
from signalstack.store.outcomes import Ended

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    import httpx2

    from rows import Database
    from signalstack.store.dispatch import Dispatch

LATER = {"delay_s": 3_600}
PATIENCE_S = 10
_LAST = "9999-12-31T23:59:59Z"
_BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
CHANNELS = (
    "signalstack_ready",
    "signalstack_again",
    "signalstack_later",
    "signalstack_changed",
    "signalstack_cancel",
)


class Bench:
    """A front door with a worker behind it that runs only what the test lets it run."""

    def __init__(self, dsn: str, front: Front, dispatch: Dispatch, db: Database) -> None:
        self.front = front
        self.client = front.client
        self.db = db
        self.worker_id = UUID(int=0)
        self._dsn = dsn
        self._dispatch = dispatch
        self._token = 0

    async def create(self, **fields: Any) -> str:
        """Create a job and return its id."""
        made = await self.client.post("/v1/jobs", json={"type": "noop", **fields})
        assert made.status_code == 201
        return made.json()["id"]

    async def claim(self) -> Lease:
        """Claim the next job."""
        self._token += 1
        claim = await self._dispatch.claim(
            ["default"],
            worker_id=self.worker_id,
            token=self._token,
            limit=1,
            lanes=10,
            cursor=NIL,
            cause=Wake.NOTIFY,
        )
        return claim.leases[0]

    async def settle(self, lease: Lease, outcome: Outcome, **fields: Any) -> None:
        """Record how a run ended."""
        now = datetime.now(UTC).timestamp()
        ended = Ended(lease=lease, outcome=outcome, started_at=now, finished_at=now, **fields)
        await self._dispatch.settle([ended], worker_id=self.worker_id)

    async def run(self, outcome: Outcome, **fields: Any) -> str:
        """Create a job and let one run of it end so; return its id."""
        job_id = await self.create()
        await self.settle(await self.claim(), outcome, **fields)
        return job_id

    async def get(self, job_id: str) -> dict[str, Any]:
        """Look a job up."""
        found = await self.client.get(f"/v1/jobs/{job_id}")
        assert found.status_code == 200
        return found.json()

    async def counts(self) -> tuple[int, int, int, int]:
        """Sum up what analytics have: created, succeeded, failed, cancelled."""
        (row,) = await rows(
            self.db,
            "SELECT sum(jobs_created), sum(jobs_succeeded), sum(jobs_failed), sum(jobs_cancelled) "
            "FROM signalstack.metrics_delta",
        )
        return row

    async def list(self, **query: Any) -> list[str]:
        """Walk all pages of a list and return the ids."""
        ids: list[str] = []
        while True:
            page = (await self.client.get("/v1/jobs", params=query)).json()
            ids += [job["id"] for job in page["data"]]
            if page["next_cursor"] is None:
                return ids
            query["cursor"] = page["next_cursor"]

    @asynccontextmanager
    async def heard(self) -> AsyncGenerator[list[tuple[str, str]]]:
        """Listen during the block; afterwards the list has what was heard: channel, payload."""
        heard: list[tuple[str, str]] = []
        async with connect(self._dsn) as conn:
            for channel in CHANNELS:
                await conn.execute(f"LISTEN {channel}".encode())
            yield heard
            # Bells ring in the order of their commits: none of the block's comes after this one.
            await conn.execute("SELECT pg_notify('signalstack_ready', 'the end')")
            async for bell in conn.notifies(timeout=PATIENCE_S):
                if bell.payload == "the end":
                    break
                heard.append((bell.channel, bell.payload))

    @asynccontextmanager
    async def racing(self, statement: str) -> AsyncGenerator[Requests]:
        """Let requests of the block run into the locks of a statement that commits after them."""
        requests = Requests()
        async with connect(self._dsn) as rival, anyio.create_task_group() as tasks:
            await rival.execute("BEGIN")
            await rival.execute(statement.encode())
            yield requests
            for request in requests.asked:
                tasks.start_soon(requests.send, request)
            with anyio.fail_after(PATIENCE_S):
                while await value(self.db, _BLOCKED) < len(requests.asked):
                    await anyio.lowlevel.checkpoint()
            await rival.execute("COMMIT")


class Requests:
    """Requests that are sent together, and their answers."""

    def __init__(self) -> None:
        self.asked: list[Awaitable[httpx2.Response]] = []
        self.given: list[httpx2.Response] = []

    def __call__(self, request: Awaitable[httpx2.Response]) -> None:
        self.asked.append(request)

    async def send(self, request: Awaitable[httpx2.Response]) -> None:
        self.given.append(await request)


@asynccontextmanager
async def open_bench(dsn: str) -> AsyncGenerator[Bench]:
    """Give a bench on a database."""
    async with (
        open_front(dsn) as front,
        connect(dsn) as db,
        open_dispatch(dsn, RecordingObserver()) as dispatch,
    ):
        bench = Bench(dsn, front, dispatch, db)
        bench.worker_id = await add_worker(db)
        yield bench


@pytest.fixture
async def bench(database_url: str) -> AsyncGenerator[Bench]:
    async with open_bench(database_url) as bench:
        yield bench


async def test_a_list_has_live_and_finished_jobs_newest_first(bench: Bench) -> None:
    first = await bench.run(Outcome.SUCCEEDED, result=b'{"ok":true}')
    second = await bench.create(**LATER)
    third = await bench.create(payload={"a": 1})

    page = await bench.client.get("/v1/jobs")

    assert page.status_code == 200
    assert [job["id"] for job in page.json()["data"]] == [third, second, first]
    assert page.json()["next_cursor"] is None
    assert page.json()["data"] == [await bench.get(job_id) for job_id in (third, second, first)]


async def test_every_filter_shows_what_fits(bench: Bench) -> None:
    failed = await bench.run(Outcome.FAILED, error="no")
    succeeded = await bench.run(Outcome.SUCCEEDED)
    running = await bench.create()
    await bench.claim()
    scheduled = await bench.create(**LATER)
    pending = await bench.create(type="greet", payload={"to": "you"})
    cancelled = await bench.create(type="greet", payload={"to": "me"})
    await bench.client.post(f"/v1/jobs/{cancelled}/cancel")
    everything = [cancelled, pending, scheduled, running, succeeded, failed]

    by_status = {
        "scheduled": scheduled,
        "pending": pending,
        "running": running,
        "succeeded": succeeded,
        "failed": failed,
        "cancelled": cancelled,
    }
    for status, job_id in by_status.items():
        assert await bench.list(status=status) == [job_id]
    assert await bench.list() == everything
    assert await bench.list(queue="default") == everything
    assert await bench.list(queue="elsewhere") == []
    assert await bench.list(type="greet") == [cancelled, pending]
    assert await bench.list(type="noop") == [scheduled, running, succeeded, failed]
    assert await bench.list(type="greet", status="pending") == [pending]
    assert await bench.list(type="greet", status="cancelled", queue="default") == [cancelled]
    assert await bench.list(type="noop", status="succeeded") == [succeeded]
    assert await bench.list(type="greet", status="succeeded") == []


async def test_created_between_two_moments_is_from_the_one_until_before_the_other(
    bench: Bench,
) -> None:
    one, two = await bench.run(Outcome.SUCCEEDED), await bench.create()
    three, four = await bench.create(), await bench.create()
    await bench.settle(await bench.claim(), Outcome.SUCCEEDED)
    made = [one, two, three, four]
    first, second, third, fourth = [(await bench.get(job))["created_at"] for job in made]

    assert await bench.list(created_after=second) == [four, three, two]
    assert await bench.list(created_before=third) == [two, one]
    assert await bench.list(created_after=second, created_before=third) == [two]
    assert await bench.list(created_after=third, created_before=second) == []
    assert await bench.list(created_after=first, type="noop") == [four, three, two, one]
    assert await bench.list(created_before=fourth, type="noop") == [three, two, one]
    assert await bench.list(created_after=second, status="succeeded") == [two]
    await bench.client.post(f"/v1/jobs/{four}/cancel")
    assert await bench.list(created_after=fourth, status="cancelled") == [four]
    assert await bench.list(created_before=fourth, status="cancelled") == []
    for wide in ({"created_after": "0001-01-01T12:00:00+12:00"}, {"created_before": _LAST}):
        assert await bench.list(**wide) == [four, three, two, one]


@pytest.mark.parametrize("apart_s", [-50, 50])
async def test_created_goes_by_the_databases_clock_where_an_id_has_another(
    bench: Bench, apart_s: int
) -> None:
    made = await bench.create()
    await bench.db.execute(
        "UPDATE signalstack.jobs SET created_at = created_at + %s * interval '1 second'", (apart_s,)
    )
    at = (await bench.get(made))["created_at"]
    just_after = (datetime.fromisoformat(at) + timedelta(milliseconds=1)).isoformat()

    assert await bench.list(created_after=at) == [made]
    assert await bench.list(created_after=just_after) == []
    assert await bench.list(created_before=at) == []
    assert await bench.list(created_before=just_after, limit=1) == [made]


async def test_pages_hold_still_while_jobs_come_in_and_move(bench: Bench) -> None:
    ids = [await bench.create() for _ in range(5)]

    first = (await bench.client.get("/v1/jobs", params={"limit": 2})).json()
    await bench.create()
    await bench.settle(await bench.claim(), Outcome.SUCCEEDED)
    await bench.client.post(f"/v1/jobs/{ids[1]}/cancel")
    await bench.client.post(f"/v1/jobs/{ids[3]}/cancel")
    second = (
        await bench.client.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()
    third = (
        await bench.client.get("/v1/jobs", params={"limit": 9, "cursor": second["next_cursor"]})
    ).json()

    pages = [[job["id"] for job in page["data"]] for page in (first, second, third)]
    assert pages == [ids[:2:-1], ids[2:0:-1], ids[:1]]
    assert third["next_cursor"] is None


async def test_a_page_that_reads_too_far_is_short_and_leads_on(bench: Bench) -> None:
    oldest = await bench.create(type="greet", payload={"to": "you"})
    user_id = await value(bench.db, "SELECT user_id FROM signalstack.jobs")
    await bench.db.execute(
        """
        INSERT INTO signalstack.jobs
            (user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload)
        SELECT %s, (lpad(to_hex(x'ffff0000'::bigint + n), 8, '0') || repeat('0', 24))::uuid,
            'noop', 'default', 0, false, 3, now(), 'null'
        FROM generate_series(1, 12000) AS n
        """,
        (user_id,),
    )

    pages: list[dict[str, Any]] = []
    query = {"type": "greet"}
    while not pages or pages[-1]["next_cursor"] is not None:
        pages.append((await bench.client.get("/v1/jobs", params=query)).json())
        query["cursor"] = pages[-1]["next_cursor"]

    assert [[job["id"] for job in page["data"]] for page in pages] == [[], [], [oldest]]


async def test_lists_show_a_tenants_own_jobs(bench: Bench) -> None:
    await bench.create()

    page = await bench.front.stranger.get("/v1/jobs")

    assert page.json() == {"data": [], "next_cursor": None}


async def test_a_cursor_is_good_for_its_own_list_alone(bench: Bench) -> None:
    for _ in range(2):
        await bench.create()
        await bench.front.stranger.post("/v1/jobs", json={"type": "noop"})
    page = await bench.client.get("/v1/jobs", params={"limit": 1, "type": "noop"})
    cursor = page.json()["next_cursor"]

    async def status(client: httpx2.AsyncClient, path: str = "/v1/jobs", **query: str) -> int:
        return (await client.get(path, params={"cursor": cursor, **query})).status_code

    assert await status(bench.client, type="noop") == 200
    assert await status(bench.client, type="noop", limit="2") == 200
    assert await status(bench.client) == 400
    assert await status(bench.client, type="greet") == 400
    assert await status(bench.front.stranger, type="noop") == 400
    assert await status(bench.client, "/v1/subscriptions") == 400
    assert await status(bench.client, type="noop", cursor=cursor[:-1]) == 400


@pytest.mark.parametrize(
    "query",
    [
        {"status": "sleeping"},
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "many"},
        {"created_after": "yesterday"},
        {"created_before": "2026-01-01T00:00:00"},
        {"colour": "red"},
        {"cursor": ""},
        {"cursor": "AAAA"},
    ],
    ids=str,
)
async def test_a_query_that_means_nothing_is_malformed(bench: Bench, query: dict[str, str]) -> None:
    refused = await bench.client.get("/v1/jobs", params=query)

    assert refused.status_code == 400
    assert next(iter(query)) in refused.json()["detail"]


async def test_attempts_are_all_runs_of_a_job(bench: Bench) -> None:
    job_id = await bench.create()
    await bench.settle(await bench.claim(), Outcome.RETRIED, error="first")
    await bench.settle(await bench.claim(), Outcome.SUCCEEDED, result=b'{"n":2}')

    answer = await bench.client.get(f"/v1/jobs/{job_id}/attempts")

    assert answer.status_code == 200
    first, second = answer.json()["data"]
    assert list(first) == [
        "attempt",
        "worker",
        "wake",
        "started_at",
        "finished_at",
        "outcome",
        "error",
        "result",
    ]
    assert (first["attempt"], first["outcome"], first["error"]) == (1, "retried", "first")
    assert (first["wake"], second["wake"]) == ("notify", "retry")
    assert (second["attempt"], second["outcome"], second["error"]) == (2, "succeeded", None)
    assert (first["result"], second["result"]) == (None, {"n": 2})
    assert first["worker"] == second["worker"] == str(bench.worker_id)


async def test_a_run_that_goes_on_has_no_outcome_yet(bench: Bench) -> None:
    job_id = await bench.create()
    before = await bench.client.get(f"/v1/jobs/{job_id}/attempts")
    await bench.claim()

    (run,) = (await bench.client.get(f"/v1/jobs/{job_id}/attempts")).json()["data"]

    assert before.json() == {"data": []}
    assert (run["attempt"], run["finished_at"], run["outcome"]) == (1, None, None)
    assert run["started_at"] is not None


async def test_a_job_that_has_not_started_can_be_changed(bench: Bench) -> None:
    job_id = await bench.create(type="greet", payload={"to": "you"}, **LATER)
    before = await bench.get(job_id)

    changed = await bench.client.patch(
        f"/v1/jobs/{job_id}",
        json={"priority": -7, "payload": {"to": "me", "times": 2}, "max_attempts": 9},
    )

    assert changed.status_code == 200
    job = changed.json()
    assert job == await bench.get(job_id)
    changes = {"priority": -7, "payload": {"times": 2, "to": "me"}, "max_attempts": 9}
    assert job == before | changes | {"updated_at": job["updated_at"]}
    assert job["updated_at"] > before["updated_at"]


async def test_a_change_of_time_schedules_and_unschedules(bench: Bench) -> None:
    job_id = await bench.create()
    url = f"/v1/jobs/{job_id}"

    async with bench.heard() as heard:
        later = await bench.client.patch(url, json={"run_at": "2100-01-01T02:00:00+02:00"})
        await bench.client.patch(url, json={"priority": 1})
        still = await bench.get(job_id)
        now = await bench.client.patch(url, json={"run_at": None})
        past = await bench.client.patch(url, json={"run_at": "2001-01-01T00:00:00Z"})

    assert (later.json()["status"], later.json()["run_at"]) == ("scheduled", "2100-01-01T00:00:00Z")
    assert (still["status"], still["run_at"]) == ("scheduled", "2100-01-01T00:00:00Z")
    assert now.json()["status"] == past.json()["status"] == "pending"
    assert past.json()["run_at"] >= now.json()["run_at"] > now.json()["created_at"]
    assert heard == [
        ("signalstack_later", "default"),
        ("signalstack_later", "default"),
        ("signalstack_again", "default"),
        ("signalstack_again", "default"),
    ]
    assert (await bench.claim()).job_id == UUID(job_id)


async def test_a_payload_may_become_null(bench: Bench) -> None:
    job_id = await bench.create(payload={"a": 1})

    changed = await bench.client.patch(f"/v1/jobs/{job_id}", json={"payload": None})

    assert changed.json()["payload"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"payload": {"to": 5}}, "/payload/to"),
        ({"payload": None}, "/payload"),
        ({"priority": None}, "/priority"),
        ({"priority": 1_001}, "/priority"),
        ({"max_attempts": 0}, "/max_attempts"),
        ({"run_at": "2100-01-01T00:00:00"}, "/run_at"),
        ({"run_at": "9999-12-31T23:59:59-12:00"}, "/run_at"),
        ({"queue": "default"}, "/queue"),
    ],
    ids=str,
)
async def test_a_change_that_does_not_fit_is_invalid(
    bench: Bench, body: dict[str, Any], pointer: str
) -> None:
    job_id = await bench.create(type="greet", payload={"to": "you"})
    before = await bench.get(job_id)

    refused = await bench.client.patch(f"/v1/jobs/{job_id}", json=body)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert await bench.get(job_id) == before


@pytest.mark.parametrize("body", [{"priority": 1}, {"payload": {}}], ids=str)
async def test_what_has_started_cannot_be_changed(bench: Bench, body: dict[str, Any]) -> None:
    running = await bench.create()
    lease = await bench.claim()
    while_running = await bench.client.patch(f"/v1/jobs/{running}", json=body)
    await bench.settle(lease, Outcome.RETRIED, error="again", delay_s=3_600)
    between = await bench.client.patch(f"/v1/jobs/{running}", json=body)
    done = await bench.run(Outcome.SUCCEEDED)
    finished = await bench.client.patch(f"/v1/jobs/{done}", json=body)

    assert [while_running.status_code, between.status_code, finished.status_code] == [409] * 3
    assert "running" in while_running.json()["detail"]
    assert "scheduled after attempt 1" in between.json()["detail"]
    assert "succeeded" in finished.json()["detail"]


@pytest.mark.parametrize("fields", [{}, LATER], ids=["pending", "scheduled"])
async def test_a_waiting_job_is_cancelled_at_once(bench: Bench, fields: dict[str, Any]) -> None:
    job_id = await bench.create(**fields)

    first = await bench.client.post(f"/v1/jobs/{job_id}/cancel")
    again = await bench.client.post(f"/v1/jobs/{job_id}/cancel")

    assert (first.status_code, again.status_code) == (200, 200)
    job = first.json()
    assert job == again.json() == await bench.get(job_id)
    assert (job["status"], job["attempt"], job["started_at"]) == ("cancelled", 0, None)
    assert job["finished_at"] is not None
    assert (await bench.client.get(f"/v1/jobs/{job_id}/attempts")).json() == {"data": []}
    assert await bench.counts() == (1, 0, 0, 1)
    # No worker heard of it, so the one that cancelled tells, once.
    told = [fact for fact in bench.front.witness.facts if isinstance(fact, Closed)]
    assert told == [Closed(queue="default", type="noop", outcome=Outcome.CANCELLED, count=1)]


async def test_a_watched_job_that_is_cancelled_says_so(bench: Bench) -> None:
    job_id = await bench.create()
    quiet = await bench.create()
    await bench.db.execute("UPDATE signalstack.jobs SET watch = 1 WHERE id = %s", (job_id,))

    async with bench.heard() as heard:
        await bench.client.post(f"/v1/jobs/{quiet}/cancel")
        await bench.client.post(f"/v1/jobs/{job_id}/cancel")

    assert heard == [("signalstack_changed", job_id)]


async def test_cancelling_a_running_job_asks_its_worker(bench: Bench) -> None:
    job_id = await bench.create()
    lease = await bench.claim()

    async with bench.heard() as heard:
        first = await bench.client.post(f"/v1/jobs/{job_id}/cancel")
        again = await bench.client.post(f"/v1/jobs/{job_id}/cancel")

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json() == await bench.get(job_id)
    assert first.json()["status"] == "running"
    assert heard == [("signalstack_cancel", job_id)] * 2
    await bench.settle(lease, Outcome.CANCELLED, error="cancelled while it ran")
    assert (await bench.get(job_id))["status"] == "cancelled"
    # Its worker tells how the run ended; told here too, it would be counted twice.
    assert not [fact for fact in bench.front.witness.facts if isinstance(fact, Closed)]
    assert await bench.counts() == (1, 0, 0, 1)


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
async def test_what_has_ended_cannot_be_cancelled(bench: Bench, outcome: Outcome) -> None:
    job_id = await bench.run(outcome)

    refused = await bench.client.post(f"/v1/jobs/{job_id}/cancel")

    assert refused.status_code == 409
    assert outcome.value in refused.json()["detail"]


async def test_a_failed_job_is_retried_with_its_attempts_going_on(bench: Bench) -> None:
    job_id = await bench.create(max_attempts=1, priority=3, timeout_s=5, idempotency_key="k")
    await bench.settle(await bench.claim(), Outcome.FAILED, error="no")
    failed = await bench.get(job_id)
    assert await bench.counts() == (1, 0, 1, 0)

    async with bench.heard() as heard:
        retried = await bench.client.post(f"/v1/jobs/{job_id}/retry")

    assert retried.status_code == 200
    job = retried.json()
    assert job == await bench.get(job_id)
    assert (job["status"], job["attempt"], job["max_attempts"]) == ("pending", 1, 2)
    assert (job["started_at"], job["finished_at"], job["last_error"]) == (None, None, "no")
    kept = ("id", "type", "queue", "priority", "payload", "timeout_s", "idempotency_key")
    assert [job[name] for name in kept] == [failed[name] for name in kept]
    assert job["created_at"] == failed["created_at"]
    assert heard == [("signalstack_again", "default")]
    assert await bench.counts() == (1, 0, 0, 0)
    lease = await bench.claim()
    assert (lease.attempt, lease.max_attempts) == (2, 2)
    await bench.settle(lease, Outcome.SUCCEEDED)
    assert await bench.counts() == (1, 1, 0, 0)
    runs = (await bench.client.get(f"/v1/jobs/{job_id}/attempts")).json()["data"]
    assert [(run["attempt"], run["outcome"], run["error"]) for run in runs] == [
        (1, "failed", "no"),
        (2, "succeeded", None),
    ]


async def test_a_retry_takes_the_count_back_in_the_hour_it_was_counted_in(bench: Bench) -> None:
    job_id = await bench.run(Outcome.FAILED)
    await bench.db.execute(
        "UPDATE signalstack.metrics_delta SET hour = hour - interval '3 hours' "
        "WHERE jobs_failed > 0"
    )
    await bench.db.execute(
        "UPDATE signalstack.finished_jobs SET finished_at = finished_at - interval '3 hours'"
    )

    await bench.client.post(f"/v1/jobs/{job_id}/retry")

    left = await rows(
        bench.db,
        "SELECT hour FROM signalstack.metrics_delta GROUP BY hour "
        "HAVING sum(jobs_failed) <> 0 OR sum(jobs_cancelled) <> 0",
    )
    assert left == []


async def test_a_job_that_was_cancelled_before_it_ran_is_retried(bench: Bench) -> None:
    job_id = await bench.create(**LATER)
    await bench.client.post(f"/v1/jobs/{job_id}/cancel")

    retried = await bench.client.post(f"/v1/jobs/{job_id}/retry")

    assert retried.status_code == 200
    assert (retried.json()["status"], retried.json()["attempt"]) == ("pending", 0)
    assert retried.json()["max_attempts"] == 3
    assert (await bench.client.get(f"/v1/jobs/{job_id}/attempts")).json() == {"data": []}
    assert (await bench.claim()).attempt == 1
    assert await bench.counts() == (1, 0, 0, 0)


async def test_only_failed_and_cancelled_jobs_are_retried(bench: Bench) -> None:
    succeeded = await bench.run(Outcome.SUCCEEDED)
    running = await bench.create()
    await bench.claim()
    pending = await bench.create()

    for job_id, status in ((succeeded, "succeeded"), (running, "running"), (pending, "pending")):
        refused = await bench.client.post(f"/v1/jobs/{job_id}/retry")
        assert refused.status_code == 409
        assert status in refused.json()["detail"]


async def test_a_finished_job_can_be_hidden_and_still_counts(bench: Bench) -> None:
    job_id = await bench.run(Outcome.FAILED)
    url = f"/v1/jobs/{job_id}"

    hidden = await bench.client.delete(url)

    assert (hidden.status_code, hidden.content) == (204, b"")
    answers = [
        await bench.client.delete(url),
        await bench.client.get(url),
        await bench.client.get(f"{url}/attempts"),
        await bench.client.patch(url, json={"priority": 1}),
        await bench.client.post(f"{url}/cancel"),
        await bench.client.post(f"{url}/retry"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 6
    assert await bench.list() == await bench.list(status="failed") == []
    assert await bench.list(type="noop") == []
    assert await bench.counts() == (1, 0, 1, 0)


async def test_a_live_job_cannot_be_hidden(bench: Bench) -> None:
    running = await bench.create()
    await bench.claim()
    scheduled = await bench.create(**LATER)

    for job_id, status in ((running, "running"), (scheduled, "scheduled")):
        refused = await bench.client.delete(f"/v1/jobs/{job_id}")
        assert refused.status_code == 409
        assert status in refused.json()["detail"]


async def test_a_claim_that_comes_first_makes_cancelling_a_request(bench: Bench) -> None:
    job_id = await bench.create()

    async with bench.racing("UPDATE signalstack.jobs SET lease_token = 7, attempt = 1") as answers:
        answers(bench.client.post(f"/v1/jobs/{job_id}/cancel"))

    (answer,) = answers.given
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert await value(bench.db, "SELECT cancel_requested FROM signalstack.jobs") is True
    assert await bench.counts() == (1, 0, 0, 0)


async def test_a_claim_that_comes_first_forbids_a_change(bench: Bench) -> None:
    job_id = await bench.create()

    async with bench.racing("UPDATE signalstack.jobs SET lease_token = 7, attempt = 1") as answers:
        answers(bench.client.patch(f"/v1/jobs/{job_id}", json={"priority": 1}))

    assert [answer.status_code for answer in answers.given] == [409]
    assert (await bench.get(job_id))["priority"] == 0


async def test_of_two_who_retry_one_does(bench: Bench) -> None:
    job_id = await bench.run(Outcome.FAILED)

    async with bench.racing("SELECT FROM signalstack.finished_jobs FOR UPDATE") as answers:
        for _ in range(2):
            answers(bench.client.post(f"/v1/jobs/{job_id}/retry"))

    assert sorted(answer.status_code for answer in answers.given) == [200, 409]
    assert await bench.counts() == (1, 0, 0, 0)
    assert await bench.list() == [job_id]


async def test_of_two_who_cancel_one_does(bench: Bench) -> None:
    job_id = await bench.create()

    async with bench.racing("SELECT FROM signalstack.jobs FOR UPDATE") as answers:
        for _ in range(2):
            answers(bench.client.post(f"/v1/jobs/{job_id}/cancel"))

    assert [answer.status_code for answer in answers.given] == [200, 200]
    assert await bench.counts() == (1, 0, 0, 1)


ROUTES = [
    ("GET", "/attempts", None),
    ("PATCH", "", {"priority": 1}),
    ("POST", "/cancel", None),
    ("POST", "/retry", None),
    ("DELETE", "", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_another_tenants_job_is_not_found(
    bench: Bench, method: str, path: str, body: object
) -> None:
    mine = await bench.run(Outcome.FAILED)

    answers = [
        await bench.front.stranger.request(method, f"/v1/jobs/{job_id}{path}", json=body)
        for job_id in (mine, uuid4(), "nonsense")
    ]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert (await bench.get(mine))["status"] == "failed"


@pytest.mark.parametrize(("method", "path", "body"), [("GET", None, None), *ROUTES])
async def test_a_key_needs_the_scope(
    bench: Bench, method: str, path: str | None, body: object
) -> None:
    url = "/v1/jobs" if path is None else f"/v1/jobs/{await bench.create()}{path}"
    wrong = Scope.WRITE if method == "GET" else Scope.READ
    key = await make_key(bench.front.pool, "acme", wrong)

    async with client_of(bench.front.app, key) as client:
        refused = await client.request(method, url, json=body)
    unknown = await bench.front.anonymous.request(method, url, json=body)

    assert (refused.status_code, unknown.status_code) == (403, 401)
