"""The Python client against the served application with a worker behind it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import httpx2
import pytest

from front import GREET, make_key, open_front, served
from hands import working
from receiver import hang, receiver
from signalstack.client import ApiError, AsyncClient, Client, UnreachableError
from signalstack.core.key import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class Service(NamedTuple):
    """Where the service is, and a key for it."""

    url: str
    key: str


@asynccontextmanager
async def serving(dsn: str) -> AsyncGenerator[Service]:
    async with open_front(dsn) as front, served(front.app) as port:
        key = await make_key(front.pool, "acme", Scope.ADMIN)
        yield Service(f"http://127.0.0.1:{port}", key)


@pytest.fixture
async def service(database_url: str) -> AsyncGenerator[Service]:
    """Serve without a worker: jobs stay as they are."""
    async with serving(database_url) as service:
        yield service


async def test_a_thread_enqueues_waits_and_looks(database_url: str) -> None:
    def script(service: Service) -> None:
        with Client(service.url, service.key) as client:
            ended = client.enqueue("noop", {"n": 1}, wait=10, priority=7)
            assert (ended.status, ended.priority, ended.payload) == ("succeeded", 7, {"n": 1})
            assert client.get(ended.id) == ended

            begun = client.enqueue("noop", delay_s=0.05, idempotency_key="k-1")
            assert begun.status == "scheduled"
            assert not begun.is_final
            assert client.wait(begun.id, timeout_s=10).status == "succeeded"
            assert client.enqueue("noop", delay_s=0.05, idempotency_key="k-1").id == begun.id

            assert [job.id for job in client.jobs(status="succeeded")] == [begun.id, ended.id]

    async with working(database_url), serving(database_url) as service:
        await anyio.to_thread.run_sync(script, service)


async def test_a_thread_cancels_and_retries(service: Service) -> None:
    def script() -> None:
        with Client(service.url, service.key) as client:
            job = client.enqueue("noop", run_at=datetime.now(UTC) + timedelta(hours=1))
            assert client.cancel(job.id).status == "cancelled"
            assert client.cancel(job.id).is_final
            assert client.retry(str(job.id)).status == "pending"
            with pytest.raises(ApiError) as refused:
                client.retry(job.id)
            assert refused.value.status == 409

    await anyio.to_thread.run_sync(script)


async def test_a_task_does_the_same(database_url: str) -> None:
    async with (
        working(database_url),
        serving(database_url) as service,
        AsyncClient(service.url, service.key) as client,
    ):
        job = await client.enqueue("noop")
        ended = await client.wait(job.id)
        listed = [each async for each in client.jobs()]

    assert ended.status == "succeeded"
    assert ended.finished_at is not None
    assert listed == [ended]


async def test_pages_are_followed_as_they_are_needed(service: Service) -> None:
    asked: list[httpx2.URL] = []

    class Watching(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            asked.append(request.url)
            return await super().handle_async_request(request)

    async with AsyncClient(service.url, service.key, transport=Watching()) as client:
        made = await client.enqueue_many(
            [{"type": GREET.name, "payload": {"to": str(n)}} for n in range(250)]
        )
        since = made[0].created_at - timedelta(seconds=1)
        asked.clear()
        found = client.jobs(type=GREET.name, created_after=since)
        newest = await anext(found)
        assert len(asked) == 1
        others = [job async for job in found]

    assert len(asked) == 2
    assert [newest, *others] == made[::-1]


async def test_an_event_is_told_once(service: Service) -> None:
    async with AsyncClient(service.url, service.key) as client:
        first = await client.send_event("order.paid", {"n": 1}, source="shop", id="1")
        again = await client.send_event("order.paid", {"n": 1}, source="shop", id="1")
        other = await client.send_event(
            "order.paid", {"n": 1}, subject="7", occurred_at=datetime.now(UTC)
        )

    assert first == again
    assert (first.type, first.jobs) == ("order.paid", [])
    assert other.id != first.id


async def test_a_refusal_says_what_is_wrong(service: Service) -> None:
    async with AsyncClient(service.url, service.key) as client:
        with pytest.raises(ApiError, match=r"^422 Well-formed but wrong: ") as invalid:
            await client.enqueue(GREET.name, {"to": 1})
        with pytest.raises(ApiError) as unknown:
            await client.get(uuid4())
    async with AsyncClient(service.url, "ss_live_nonsense") as client:
        with pytest.raises(ApiError) as stranger:
            await client.get(uuid4())

    assert [fault.pointer for fault in invalid.value.errors] == ["/payload/to"]
    assert invalid.value.problem.type == "urn:signalstack:problem:invalid"
    assert invalid.value.request_id
    assert (unknown.value.status, stranger.value.status) == (404, 401)


async def test_a_wait_has_an_end(service: Service) -> None:
    async with AsyncClient(service.url, service.key) as client:
        job = await client.enqueue("noop", wait=1)
        with pytest.raises(TimeoutError, match=r"is pending after 0\.1 s"):
            await client.wait(job.id, timeout_s=0.1)

    assert not job.is_final


class Scripted:
    """A server that gives one answer, or breaks off, for each time it is asked."""

    def __init__(self, *answers: int | type[httpx2.TransportError]) -> None:
        self._answers = list(answers)
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, type):
            raise answer("broken off")
        return httpx2.Response(answer, content=JOB if answer < 300 else b"<html>")


JOB_ID = "01a20487-ae8d-7307-95df-64b09255a507"
JOB = b"""{"id": "01a20487-ae8d-7307-95df-64b09255a507", "type": "noop", "queue": "default",
    "status": "pending", "priority": 0, "payload": null, "run_at": "2026-01-01T00:00:00Z",
    "attempt": 0, "max_attempts": 3, "timeout_s": null, "idempotency_key": null, "event_id": null,
    "result": null, "last_error": null, "created_at": "2026-01-01T00:00:00Z", "started_at": null,
    "finished_at": null, "updated_at": "2026-01-01T00:00:00Z", "novelty": 1}"""


def client_of(server: Scripted, retries: int = 3) -> Client:
    return Client("http://api.test", "key", transport=httpx2.MockTransport(server), retries=retries)


@pytest.mark.parametrize("passing", [503, 429, httpx2.ConnectError, httpx2.ReadError])
def test_what_may_be_repeated_is(passing: int | type[httpx2.TransportError]) -> None:
    server = Scripted(passing, 201)

    with client_of(server) as client:
        client.enqueue("noop")

    keys = {request.headers["idempotency-key"] for request in server.asked}
    assert len(server.asked) == 2
    assert len(keys) == 1


BATCH = (partial(Client.enqueue_many, jobs=[]), partial(Client.retry, job_id=JOB_ID))


@pytest.mark.parametrize("act", BATCH)
@pytest.mark.parametrize(
    ("answer", "error"), [(503, ApiError), (httpx2.ReadError, UnreachableError)]
)
def test_what_might_take_effect_twice_is_not_repeated(
    act: Callable[[Client], object],
    answer: int | type[httpx2.TransportError],
    error: type[Exception],
) -> None:
    server = Scripted(answer)

    with client_of(server) as client, pytest.raises(error):
        act(client)

    assert len(server.asked) == 1


@pytest.mark.parametrize("answer", [429, httpx2.ConnectError])
def test_what_never_took_effect_is_repeated(answer: int | type[httpx2.TransportError]) -> None:
    server = Scripted(answer, 200)

    with client_of(server) as client:
        client.retry(JOB_ID)

    assert len(server.asked) == 2


def test_patience_has_an_end() -> None:
    server = Scripted(503, 503)

    with client_of(server, retries=1) as client, pytest.raises(ApiError) as refused:
        client.get(JOB_ID)

    assert (refused.value.status, refused.value.title) == (503, "Service Unavailable")
    assert "no answer of SignalStack" in refused.value.detail


@pytest.mark.parametrize("passing", [503, httpx2.ConnectError])
def test_a_wait_tries_no_further_than_to_its_end(
    passing: int | type[httpx2.TransportError],
) -> None:
    server = Scripted(passing, 200)

    with client_of(server) as client, pytest.raises(TimeoutError, match=r"another try: GET /jobs"):
        client.wait(JOB_ID, timeout_s=0.05)  # less than the shortest pause

    assert len(server.asked) == 1


async def test_any_number_may_wait_for_an_answer_at_once() -> None:
    async with receiver() as here, AsyncClient(f"http://127.0.0.1:{here.port}", "key") as client:
        here.usual = hang
        async with anyio.create_task_group() as tasks:
            for _ in range(120):
                tasks.start_soon(client.get, JOB_ID)
            await here.wait_for(120)
            tasks.cancel_scope.cancel()

    assert {request.connection for request in here.requests} == set(range(1, 121))


BY_ID = (Client.get, Client.wait, Client.cancel, Client.retry)


@pytest.mark.parametrize("act", BY_ID)
@pytest.mark.parametrize(
    "job_id",
    ["../events", "../queues/q/pause#", f"{JOB_ID}/../../events", f"{JOB_ID}?", JOB_ID[1:], "", 7],
)
def test_what_is_no_id_leads_nowhere(act: Callable[..., object], job_id: object) -> None:
    server = Scripted()

    with client_of(server) as client, pytest.raises(ValueError, match=r"^job_id must be a UUID"):
        act(client, job_id)

    assert server.asked == []


@pytest.mark.parametrize("job_id", [UUID(JOB_ID), JOB_ID, JOB_ID.upper()])
def test_an_id_is_a_uuid_or_its_text(job_id: UUID | str) -> None:
    server = Scripted(200)

    with client_of(server) as client:
        client.cancel(job_id)

    assert [request.url.path for request in server.asked] == [f"/v1/jobs/{JOB_ID}/cancel"]
