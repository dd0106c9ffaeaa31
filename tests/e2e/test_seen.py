"""What real processes show of themselves: spans over OTLP, exemplars, logs, and clean metrics."""

from __future__ import annotations

import json
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
import msgspec
import pytest
from opentelemetry.proto.trace.v1 import trace_pb2

from collector import Collector, fields
from front import make_key
from processes import Running, start
from programs import find
from receiver import Receiver, receiver, reply
from signalstack.core.key import Scope
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

pytestmark = pytest.mark.slow

Span = trace_pb2.Span
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
A, B, C, D = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


class Scene(msgspec.Struct, frozen=True):
    """An API process, its client, and what worker processes need."""

    api: Running
    client: httpx2.AsyncClient
    receiver: Receiver
    variables: dict[str, str]

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[tuple[Running, str]]:
        """Run a worker; gives it and the URL of its metrics."""
        async with start("worker", **self.variables) as worker:
            yield worker, await worker.read(r"^metrics +(\S+)")

    async def event(self, trace_id: str, *, flags: str = "01") -> dict[str, Any]:
        """Send an event from within a trace."""
        answer = await self.client.post(
            "/v1/events",
            json={"type": "order.paid", "payload": {"trace": trace_id}},
            headers={"traceparent": f"00-{trace_id}-{trace_id[:16]}-{flags}"},
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["jobs"][0]

    async def delivered(self, count: int) -> list[tuple[str, int, str]]:
        """Wait for so many deliveries; give the trace, attempt and traceparent of each."""
        requests = await self.receiver.wait_for(count)
        return [
            (
                json.loads(request.body)["trace"],
                int(request.headers["webhook-attempt"]),
                request.headers["traceparent"],
            )
            for request in requests
        ]


@asynccontextmanager
async def scene(database_url: str, **variables: str) -> AsyncGenerator[Scene]:
    async with open_pool(database_url) as pool:
        key = await make_key(pool, "acme", *Scope)
    given = {
        "DATABASE_URL": database_url,
        "WEBHOOK_ALLOW_PRIVATE": "true",
        "RETRY_BASE_DELAY": "50ms",
        "LOG_FORMAT": "json",
        **variables,
    }
    async with receiver() as hook, start("api", **given) as api:
        url = await api.read(r"^API +(\S+)")
        headers = {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers) as client:
            await _subscribe(client, hook.url)
            yield Scene(api, client, hook, given)


async def test_one_trace_leads_from_the_request_through_the_queue_to_the_webhook(
    database_url: str, collector: Collector
) -> None:
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    async with scene(database_url, **traced) as here:
        jobs = {trace_id: (await here.event(trace_id))["id"] for trace_id in (A, B)}
        # Both wait when the worker comes: one claim takes them, and neither takes the other along.
        async with here.worker() as (worker, metrics):
            await here.delivered(2)
            here.receiver.script(reply(503))
            jobs[C] = (await here.event(C))["id"]
            await here.delivered(4)
            await here.event(D, flags="00")
            delivered = await here.delivered(5)
            scrape = (await _get(metrics, OPENMETRICS)).text
            failed = await worker.read_error(r'^.*"event":"job_failed".*$')
            assert await worker.stop() == 0
        assert await here.api.stop() == 0

    for trace_id in (A, B):
        _assert_chain(collector, trace_id, jobs[trace_id])
    _assert_retry(collector, jobs[C])
    assert not [span for span in collector.all if span.trace_id.hex() == D]
    assert delivered[-1] == (D, 1, f"00-{D}-{D[:16]}-00")
    deliveries = _named(collector, "deliver")
    sent_on = {f"{span.trace_id.hex()}-{span.span_id.hex()}" for span in deliveries}
    assert {traceparent[3:52] for _, _, traceparent in delivered[:-1]} == sent_on
    buckets = [line for line in scrape.splitlines() if "dispatch_latency_seconds_bucket{" in line]
    assert any(trace_id in line for line in buckets for trace_id in (A, B, C))
    assert D not in scrape
    assert json.loads(failed)["trace_id"] == C


async def test_metrics_of_real_processes_are_there_and_clean(database_url: str) -> None:
    promtool = find("promtool")
    async with scene(database_url) as here:
        here.receiver.script(reply(503))
        async with here.worker() as (_, metrics):
            await here.event(A)
            await here.delivered(2)
            of_worker = await _fed(metrics, FED_BY_WORKER)
            of_api = await _fed(here.api.output.split("metrics", 1)[1].split()[0], FED_BY_API)

    for scrape in (of_worker, of_api):
        checked = await anyio.run_process(
            [promtool, "check", "metrics"],
            input=scrape.encode(),
            check=False,
            stderr=subprocess.STDOUT,
        )
        assert (checked.returncode, checked.stdout) == (0, b"")


async def _fed(metrics: str, names: set[str]) -> str:
    """Scrape until all of these are told: some of them come by a timer of the process."""
    page = ""
    with anyio.move_on_after(20):
        while True:
            page = (await _get(metrics, "text/plain")).text
            if _told(page) >= names:
                return page
            await anyio.sleep(0.1)
    raise AssertionError(f"not told: {names - _told(page)}")


FED_BY_EACH: Final = {
    "event_loop_lag_seconds_count",
    "listener_up",
    "listener_mode",
    "listener_roundtrip_seconds_count",
    "listener_last_notification_timestamp_seconds",
    "db_query_duration_seconds_count",
    "db_pool_connections",
    "build_info",
}
FED_BY_API: Final = FED_BY_EACH | {
    "http_request_duration_seconds_count",
    "events_received_total",
    "jobs_enqueued_total",
    "flush_batch_size_count",
    "flush_duration_seconds_count",
}
FED_BY_WORKER: Final = FED_BY_EACH | {
    "dispatch_latency_seconds_count",
    "job_duration_seconds_count",
    "job_retries_total",
    "claimed_jobs_total",
    "claims_total",
    "claim_batch_size_count",
    "wakeups_total",
    "settle_duration_seconds_count",
    "worker_slots",
    "webhook_deliveries_total",
    "jobs_rescued_total",
    "stale_settlements_total",
}


def _assert_chain(collector: Collector, trace_id: str, job_id: str) -> None:
    spans = {span.name: span for span in collector.all if span.trace_id.hex() == trace_id}
    server, producer, consumer, client = (
        spans[name] for name in ("POST /v1/events", "send default", "process default", "deliver")
    )
    assert len(spans) == 4
    assert [span.kind for span in (server, producer, consumer, client)] == [
        *(Span.SPAN_KIND_SERVER, Span.SPAN_KIND_PRODUCER),
        *(Span.SPAN_KIND_CONSUMER, Span.SPAN_KIND_CLIENT),
    ]
    assert server.parent_span_id.hex() == trace_id[:16]
    assert producer.parent_span_id == server.span_id
    assert consumer.parent_span_id == producer.span_id
    assert client.parent_span_id == consumer.span_id
    assert fields(server.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/events",
        "url.scheme": "http",
        "url.path": "/v1/events",
        "http.response.status_code": 201,
    }
    message = {
        "messaging.system": "signalstack",
        "messaging.destination.name": "default",
        "messaging.message.id": job_id,
        "signalstack.job.type": "send_webhook",
    }
    assert fields(producer.attributes) == {
        **message,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    told = fields(consumer.attributes)
    assert told.pop("signalstack.wake") in {"notify", "poll", "backlog"}
    assert told == {
        **message,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "signalstack.job.attempt": 1,
    }
    sent = fields(client.attributes)
    assert sent.pop("server.port")
    assert sent == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "url.scheme": "http",
        "http.response.status_code": 204,
    }


def _assert_retry(collector: Collector, job_id: str) -> None:
    first, second = [
        span
        for span in _named(collector, "process default")
        if fields(span.attributes)["messaging.message.id"] == job_id
    ]
    (producer,) = [
        span for span in _named(collector, "send default") if span.trace_id == first.trace_id
    ]
    assert first.trace_id.hex() == C
    assert first.parent_span_id == producer.span_id
    assert first.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert fields(first.attributes)["error.type"] == "Retry"
    # The retry is a trace of its own, linked to what sent it.
    assert second.trace_id != first.trace_id
    assert second.parent_span_id == b""
    assert [link.span_id for link in second.links] == [producer.span_id]
    assert [link.trace_id.hex() for link in second.links] == [C]
    refused, taken = (
        fields(span.attributes)
        for one in (first, second)
        for span in _named(collector, "deliver")
        if span.parent_span_id == one.span_id
    )
    assert (refused["http.response.status_code"], refused["error.type"]) == (503, "503")
    assert (taken["http.response.status_code"], taken.get("error.type")) == (204, None)


def _named(collector: Collector, name: str) -> list[Span]:
    found = [span for span in collector.all if span.name == name]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


def _told(scrape: str) -> set[str]:
    lines = (line for line in scrape.splitlines() if line.startswith("signalstack_"))
    return {line.split("{")[0].split(" ")[0].removeprefix("signalstack_") for line in lines}


async def _get(url: str, accept: str) -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.get(url, headers={"Accept": accept})


async def _subscribe(client: httpx2.AsyncClient, url: str) -> None:
    payload = {"url": url, "body": {"trace": {"$": "payload.trace"}}}
    wanted = {
        "name": "orders",
        "event_type": "order.*",
        "job": {"type": "send_webhook", "payload": payload},
    }
    answer = await client.post("/v1/subscriptions", json=wanted)
    assert answer.status_code == 201, answer.text
    with anyio.fail_after(10):
        while (await client.get("/ready")).status_code != 200:  # noqa: ASYNC110 - another process
            await anyio.sleep(0.05)
