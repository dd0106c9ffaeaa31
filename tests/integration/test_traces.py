"""Traces that somebody collects: what a real OTLP/HTTP receiver gets, decoded."""

from __future__ import annotations

import io
import json
import logging
import time
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1 import trace_pb2

from collector import Collector, fields
from signalstack.core import log, stage
from signalstack.core.job import Outcome, Wake
from signalstack.telemetry import logs
from signalstack.telemetry.exposition import bind
from signalstack.telemetry.observer import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator


TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"


EXEMPLARY = {
    "signalstack_dispatch_latency_seconds_bucket",
    "signalstack_job_duration_seconds_bucket",
    "signalstack_http_request_duration_seconds_bucket",
    "signalstack_webhook_duration_seconds_bucket",
}
FALLEN = (
    stage.Started(
        job=UUID(int=1), queue="q", type="t", attempt=1, wake=Wake.NOTIFY, due_at=0.0, at=0.004
    ),
    stage.Finished(
        job=UUID(int=1), queue="q", type="t", attempt=1, outcome=Outcome.FAILED, duration_s=0.004
    ),
    stage.Requested(method="GET", route="/live", status=200, duration_s=0.004),
    stage.Delivered(outcome="delivered", duration_s=0.004),
)


def scrape(port: int, accept: str) -> str:
    return httpx2.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept}).text


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    yield collector
    collector.close()


@pytest.fixture
def observer(collector: Collector) -> Iterator[Telemetry]:
    assert not collector.requests
    observer = Telemetry(version="1.2.3", traces="otlp")
    yield observer
    observer.close()


def test_an_event_is_one_trace_from_the_request_to_the_delivery(
    observer: Telemetry, collector: Collector
) -> None:
    with observer.span("POST /v1/events", "server", parent=CALLER) as server:
        server.set({"http.response.status_code": 201})
        with observer.span(
            "send mail", "producer", attributes={"messaging.message.id": "j1"}
        ) as producer:
            on_the_row = producer.traceparent
    with (
        observer.span("process mail", "consumer", parent=on_the_row),
        observer.span("deliver", "client") as client,
    ):
        sent_on = client.traceparent
    observer.close()

    spans = collector.spans
    names = ["POST /v1/events", "send mail", "process mail", "deliver"]
    kinds = [spans[name].kind for name in names]
    assert kinds == [
        *(trace_pb2.Span.SPAN_KIND_SERVER, trace_pb2.Span.SPAN_KIND_PRODUCER),
        *(trace_pb2.Span.SPAN_KIND_CONSUMER, trace_pb2.Span.SPAN_KIND_CLIENT),
    ]
    assert {spans[name].trace_id.hex() for name in names} == {TRACE}
    parents = [spans[name].parent_span_id.hex() for name in names]
    assert parents == ["b7ad6b7169203331", *(spans[name].span_id.hex() for name in names[:-1])]
    assert sent_on == f"00-{TRACE}-{spans['deliver'].span_id.hex()}-01"
    assert collector.paths == {"/v1/traces"}


def test_messaging_attributes_follow_from_the_name(
    observer: Telemetry, collector: Collector
) -> None:
    with observer.span("send mail", "producer", attributes={"messaging.message.id": "j1"}):
        pass
    with observer.span("deliver", "client", attributes={"server.address": "x"}):
        pass
    observer.close()

    assert fields(collector.spans["send mail"].attributes) == {
        "messaging.system": "signalstack",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "mail",
        "messaging.message.id": "j1",
    }
    assert fields(collector.spans["deliver"].attributes) == {"server.address": "x"}


def test_a_retry_is_a_trace_of_its_own_with_a_link(
    observer: Telemetry, collector: Collector
) -> None:
    with observer.span("process mail", "consumer", link=CALLER):
        pass
    observer.close()

    span = collector.spans["process mail"]
    assert span.trace_id.hex() != TRACE
    assert span.parent_span_id == b""
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in span.links] == [
        (TRACE, "b7ad6b7169203331")
    ]


def test_what_is_not_sampled_where_it_began_is_handed_on_and_not_sent(
    observer: Telemetry, collector: Collector
) -> None:
    with (
        observer.span("POST /v1/events", "server", parent=UNSAMPLED) as server,
        observer.span("send mail", "producer") as producer,
    ):
        assert (server.traceparent, producer.traceparent) == (UNSAMPLED, UNSAMPLED)
    with observer.span("process mail", "consumer", link=UNSAMPLED) as retry:
        assert retry.traceparent == UNSAMPLED
    observer.close()

    assert collector.requests == []


def test_the_samplers_variables_are_honoured(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    observer = Telemetry(version="1", traces="otlp")

    with (
        observer.span("root", "server") as root,
        observer.span("send inside", "producer") as inside,
    ):
        assert root.traceparent is not None
        assert root.traceparent[-2:] in ("00", "02")
        assert inside.traceparent == root.traceparent
    with observer.span("process child", "consumer", parent=CALLER):
        pass
    with observer.span("process retry", "consumer", link=CALLER):
        pass
    observer.close()

    # A retry is only linked, but belongs to a story that was kept.
    assert set(collector.spans) == {"process child", "process retry"}


def test_a_share_of_the_traces_that_begin_here_is_kept(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    observer = Telemetry(version="1", traces="otlp")

    handed_on: list[str] = []
    for _ in range(400):
        with observer.span("process mail", "consumer") as span:
            handed_on.append(span.traceparent or "")
    observer.close()

    kept = {span.trace_id.hex() for span in collector.all}
    # What is handed on says so: others must decide as was decided here. The flag 2 is "random id".
    assert kept == {traceparent[3:35] for traceparent in handed_on if traceparent[-2:] == "03"}
    assert {traceparent[-2:] for traceparent in handed_on} == {"02", "03"}
    assert len(set(handed_on)) == 400
    assert 40 < len(kept) < 170  # one in a million million tests draws something else


def test_traces_that_begin_one_after_the_other_have_nothing_in_common(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick begins a trace without being asked whether it is sampled, and so does a retry."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    observer = Telemetry(version="1", traces="otlp")

    traces: list[str] = []
    ticks = 0
    for _ in range(400):
        with observer.span("process mail", "consumer") as run:
            traces.append((run.traceparent or "")[3:35])
        with observer.span("send mail", "producer") as tick:
            traces.append((tick.traceparent or "")[3:35])
            ticks += tick.recorded
        with observer.span("process mail", "consumer", link=CALLER) as retry:
            traces.append((retry.traceparent or "")[3:35])
    observer.close()

    assert len(set(traces)) == len(traces)
    assert {span.trace_id.hex() for span in collector.all} <= set(traces)
    assert 40 < ticks < 170  # a quarter, whatever began before


def test_the_resource_is_ours_until_the_environment_says_otherwise(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "payments-signals")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    observer = Telemetry(version="1.2.3", traces="otlp")

    with observer.span("POST /v1/events", "server"):
        pass
    observer.close()

    assert collector.resource["service.name"] == "payments-signals"
    assert collector.resource["service.version"] == "1.2.3"
    assert collector.resource["deployment.environment.name"] == "test"


def test_the_exporters_variables_are_honoured(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t,x-team=signals")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    observer = Telemetry(version="1", traces="otlp")

    with observer.span("POST /v1/events", "server"):
        pass
    observer.close()

    (headers,) = collector.headers
    assert headers["authorization"] == "Bearer t"
    assert headers["x-team"] == "signals"
    assert headers["content-encoding"] == "gzip"


def test_the_exporter_gives_up_after_the_time_that_its_variable_allows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collector = Collector(answers=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    observer = Telemetry(version="1", traces="otlp")
    with observer.span("POST /v1/events", "server"):
        pass

    began = time.monotonic()
    observer.close(timeout_s=8)

    assert time.monotonic() - began < 4  # ten seconds are the default
    assert caplog.records
    collector.close()


def test_a_failure_shows_its_type_and_no_secret(observer: Telemetry, collector: Collector) -> None:
    def fail() -> None:
        with observer.span("process mail", "consumer"):
            raise RuntimeError("postgresql://app:hunter2@db")

    with pytest.raises(RuntimeError):
        fail()
    with observer.span("deliver", "client") as span:
        span.fail("postgresql://app:hunter2@db refused")
    observer.close()

    raised, told = collector.spans["process mail"], collector.spans["deliver"]
    assert raised.status.code == told.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert raised.status.message == fields(raised.attributes)["error.type"] == "RuntimeError"
    assert told.status.message == "postgresql://app:***@db refused"
    assert not raised.events


async def test_tasks_that_run_side_by_side_keep_their_own_spans(
    observer: Telemetry, collector: Collector
) -> None:
    both_open = anyio.Event()
    opened = 0

    async def run(number: int) -> None:
        nonlocal opened
        with observer.span(f"process q{number}", "consumer"):
            opened += 1
            if opened == 2:
                both_open.set()
            await both_open.wait()
            with observer.span(f"deliver {number}", "client"):
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, 1)
        tasks.start_soon(run, 2)
    await anyio.to_thread.run_sync(observer.close)

    spans = collector.spans
    for number in (1, 2):
        inner, outer = spans[f"deliver {number}"], spans[f"process q{number}"]
        assert inner.parent_span_id == outer.span_id
        assert outer.parent_span_id == b""


def test_instrumentation_that_a_handler_brings_sees_our_span(observer: Telemetry) -> None:
    with observer.span("process mail", "consumer") as span:
        inside = trace.get_current_span().get_span_context()
    outside = trace.get_current_span().get_span_context()

    assert span.traceparent is not None
    assert f"{inside.trace_id:032x}" == span.traceparent[3:35]
    assert not outside.is_valid
    # No provider is set for the whole process: an application that embeds us has its own.
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@pytest.mark.parametrize(("caller", "shown"), [(CALLER, True), (UNSAMPLED, False), (None, True)])
def test_a_bucket_shows_the_trace_of_what_fell_into_it(
    observer: Telemetry, caller: str | None, *, shown: bool
) -> None:
    with observer.span("process mail", "consumer", parent=caller) as span:
        for fact in FALLEN:
            observer.tell(fact)
    for fact in FALLEN:
        observer.tell(fact)  # outside of any span: it counts, and leaves the example alone

    port = observer.start(bind("127.0.0.1", 0))
    openmetrics = scrape(port, "application/openmetrics-text; version=1.0.0")
    marked = [line.partition(" # ") for line in openmetrics.splitlines() if " # {" in line]
    assert span.traceparent is not None
    ids = f'span_id="{span.traceparent[36:52]}",trace_id="{span.traceparent[3:35]}"'
    assert {line.partition("{")[0] for line, _, _ in marked} == (EXEMPLARY if shown else set())
    assert all(f"{{{ids}}} 0.004 " in example for _, _, example in marked)
    assert all('le="0.005"' in line for line, _, _ in marked)
    assert " # {" not in scrape(port, "text/plain")


def test_log_lines_inside_a_span_carry_its_ids(observer: Telemetry) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.Json())
    logger = logging.getLogger("signalstack.test")
    logger.addHandler(handler)
    try:
        with observer.span("process mail", "consumer") as span:
            log.get_logger("signalstack.test").warning("inside")
    finally:
        logger.removeHandler(handler)

    line = json.loads(stream.getvalue())
    assert span.traceparent == f"00-{line['trace_id']}-{line['span_id']}-03"


def test_a_collector_that_hangs_does_not_hold_up_the_shutdown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collector = Collector(answers=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
    observer = Telemetry(version="1", traces="otlp")
    with observer.span("POST /v1/events", "server"):
        pass

    began = time.monotonic()
    observer.close(timeout_s=0.2)

    assert time.monotonic() - began < 3
    assert "traces.lost" in [record.message for record in caplog.records]
    collector.close()
