"""A job's changes as server-sent events, over a real socket and with a real worker."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
import httpx2
import msgspec
import pytest

from front import Front, client_of, make_key, open_front, served
from signalstack.api.parts import Limits
from signalstack.core.handler import Retry
from signalstack.core.key import Scope
from signalstack.core.stage import Requested, Started
from working import Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from signalstack.core.handler import Context

PATIENCE_S = 20
ROUTE = "/v1/jobs/{id}/stream"


@pytest.fixture
async def front(database_url: str) -> AsyncIterator[Front]:
    async with open_front(database_url) as front:
        yield front


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


class Event(msgspec.Struct, frozen=True):
    """What a browser would hand on."""

    name: str
    id: str
    data: Any


class Stream:
    """A stream that is read line by line."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def events(self, count: int = 1_000) -> list[Event]:
        """Read so many events, or all until the stream ends."""
        found: list[Event] = []
        fields: dict[str, str] = {}
        with anyio.fail_after(PATIENCE_S):
            async for line in self._lines:
                name, _, text = line.partition(":")
                if line and name:
                    fields[name] = text.removeprefix(" ")
                elif not line and "data" in fields:
                    data = msgspec.json.decode(fields["data"])
                    found.append(Event(fields["event"], fields["id"], data))
                    fields = {}
                    if len(found) == count:
                        break
        return found

    async def lines(self, count: int) -> list[str]:
        """Read so many lines as they are, empty ones left out."""
        found: list[str] = []
        with anyio.fail_after(PATIENCE_S):
            async for line in self._lines:
                found += [line] if line else []
                if len(found) == count:
                    break
        return found


@asynccontextmanager
async def streaming(
    front: Front, job: object, last_id: str | None = None, shutdown: anyio.Event | None = None
) -> AsyncGenerator[Stream]:
    """Serve the application and open the stream of a job."""
    headers = {"authorization": front.client.headers["authorization"]}
    if last_id is not None:
        headers["last-event-id"] = last_id
    async with (
        served(front.app, shutdown=shutdown) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client,
        client.stream("GET", f"/v1/jobs/{job}/stream", headers=headers) as response,
    ):
        yield Stream(response)


async def _fail_once(_payload: Any, context: Context) -> str:
    await anyio.lowlevel.checkpoint()
    if context.attempt == 1:
        raise Retry("not yet", after_s=0.01)
    return "now"


async def test_the_whole_story_is_told_and_ends(front: Front, shop: Shop) -> None:
    async with shop.worker({"moody": (Any, _fail_once)}) as crew:
        job = await shop.enqueue("moody")
        await crew.ended(job)
    async with streaming(front, job) as stream:
        events = await stream.events()
        headers = stream.response.headers

    assert headers["content-type"] == "text/event-stream"
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
    assert {event.name for event in events} == {"status"}
    assert [(event.id, event.data["status"], event.data["attempt"]) for event in events] == [
        ("1-pending", "pending", 0),
        ("1-running", "running", 1),
        ("2-scheduled", "scheduled", 1),
        ("2-pending", "pending", 1),
        ("2-running", "running", 2),
        ("2-succeeded", "succeeded", 2),
    ]
    assert all(event.data["at"].endswith("Z") for event in events)
    assert events[-1].data["job"] == (await front.client.get(f"/v1/jobs/{job}")).json()
    assert not any("job" in event.data for event in events[:-1])


async def test_changes_are_told_as_they_come(front: Front, shop: Shop) -> None:
    gate = anyio.Event()

    async def wait(_payload: Any, _context: Context) -> None:
        await gate.wait()

    job = await shop.enqueue("gate", delay_s=0.3)
    async with streaming(front, job) as stream:
        assert [event.id for event in await stream.events(1)] == ["1-scheduled"]
        async with shop.worker({"gate": (Any, wait)}) as crew:
            assert [event.id for event in await stream.events(2)] == ["1-pending", "1-running"]
            await crew.facts.seen(Started, job=job)
            gate.set()
            assert [event.id for event in await stream.events()] == ["1-succeeded"]


async def test_a_cancelled_job_ends_its_stream(front: Front, shop: Shop) -> None:
    job = await shop.enqueue("noop")
    async with streaming(front, job) as stream:
        assert [event.id for event in await stream.events(1)] == ["1-pending"]
        await front.client.post(f"/v1/jobs/{job}/cancel")
        (last,) = await stream.events()

    assert (last.id, last.data["job"]["status"]) == ("1-cancelled", "cancelled")


async def test_a_stream_goes_on_after_the_last_event_seen(front: Front, shop: Shop) -> None:
    async with shop.worker({}) as crew:
        job = await shop.enqueue("noop")
        await crew.ended(job)
    async with streaming(front, job, "1-pending") as stream:
        resumed = [event.id for event in await stream.events()]
    async with streaming(front, job, "1-succeeded") as stream:
        over = stream.response.status_code

    assert resumed == ["1-running", "1-succeeded"]
    assert over == 204  # tells EventSource to come no more


@pytest.mark.parametrize("last_id", ["7", "1-done", "0-pending", "1-pending, 2-pending"])
async def test_an_id_of_no_event_is_malformed(front: Front, shop: Shop, last_id: str) -> None:
    job = await shop.enqueue("noop")

    answer = await front.client.get(f"/v1/jobs/{job}/stream", headers={"last-event-id": last_id})

    assert answer.status_code == 400


async def test_who_may_not_see_a_job_may_not_follow_it(front: Front, shop: Shop) -> None:
    job = await shop.enqueue("noop")
    writer = await make_key(front.pool, "acme", Scope.WRITE)
    async with client_of(front.app, writer) as write:
        statuses = [
            (await client.get(path)).status_code
            for client, path in (
                (front.stranger, f"/v1/jobs/{job}/stream"),
                (front.client, f"/v1/jobs/{uuid4()}/stream"),
                (front.client, f"/v1/jobs/{job}/stream?wait=1"),
                (front.anonymous, f"/v1/jobs/{job}/stream"),
                (write, f"/v1/jobs/{job}/stream"),
            )
        ]

    assert statuses == [404, 404, 400, 401, 403]


@pytest.mark.parametrize(
    "refuse",
    [
        "UPDATE signalstack.api_keys SET revoked_at = now()",
        "UPDATE signalstack.users SET suspended_at = now()",
        "UPDATE signalstack.api_keys SET scopes = '{write}'",
    ],
    ids=["revoked", "suspended", "narrowed"],
)
async def test_a_stream_ends_when_its_key_is_refused(
    database_url: str, shop: Shop, refuse: str
) -> None:
    job = await shop.enqueue("noop")
    limits = Limits(heartbeat_s=0.05)
    async with (
        open_front(database_url, limits=limits, key_ttl_s=0.0) as front,
        streaming(front, job) as stream,
    ):
        await stream.events(1)
        await shop.rows(refuse)
        assert await stream.events() == []


async def test_head_has_no_events(front: Front, shop: Shop) -> None:
    job = await shop.enqueue("noop")

    answer = await front.client.head(f"/v1/jobs/{job}/stream")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream"


async def test_a_quiet_stream_shows_that_it_lives(database_url: str, shop: Shop) -> None:
    job = await shop.enqueue("noop")
    limits = Limits(heartbeat_s=0.05)
    async with open_front(database_url, limits=limits) as front, streaming(front, job) as stream:
        await stream.events(1)
        assert await stream.lines(3) == [":", ":", ":"]


async def test_a_stream_lasts_for_so_long_only(database_url: str, shop: Shop) -> None:
    job = await shop.enqueue("noop")
    limits = Limits(heartbeat_s=0.05, stream_s=0.2)
    async with open_front(database_url, limits=limits) as front, streaming(front, job) as stream:
        assert [event.id for event in await stream.events()] == ["1-pending"]


async def test_streams_end_with_the_process(front: Front, shop: Shop) -> None:
    job = await shop.enqueue("noop")
    shutdown = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(front.watchers.run, shutdown)
        async with streaming(front, job, shutdown=shutdown) as stream:
            await stream.events(1)
            shutdown.set()
            assert await stream.events() == []


async def test_who_left_is_not_waited_for(front: Front, shop: Shop) -> None:
    job = await shop.enqueue("noop")
    headers = {"authorization": front.client.headers["authorization"]}
    async with served(front.app) as port:
        async with (
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
            client.stream("GET", f"/v1/jobs/{job}/stream", headers=headers) as response,
        ):
            await Stream(response).events(1)
        with anyio.fail_after(PATIENCE_S):
            while not [
                fact
                for fact in front.witness.facts
                if isinstance(fact, Requested) and fact.route == ROUTE
            ]:
                await anyio.lowlevel.checkpoint()
