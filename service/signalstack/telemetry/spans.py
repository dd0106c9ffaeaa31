"""Spans by OpenTelemetry's SDK: what is sent by OTLP when somebody collects traces.

The SDK and its exporter read the standard `OTEL_*` variables themselves. No global is set, so an
application that embeds this one keeps its own tracing.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Final, Self

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind as Kind

from signalstack.core.log import get_logger
from signalstack.telemetry.redaction import mask
from signalstack.telemetry.traces import UNRECORDED, Carried, current, parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.util.types import Attributes as OtelAttributes

    from signalstack.core.stage import Attributes, Span, SpanKind
    from signalstack.telemetry.traces import Exporter

KINDS: Final = {
    "server": Kind.SERVER,
    "producer": Kind.PRODUCER,
    "consumer": Kind.CONSUMER,
    "client": Kind.CLIENT,
}

_log = get_logger("signalstack.traces")


class Recorder:
    """Records spans and sends them in batches from a thread of the SDK's."""

    def __init__(self, exporter: Exporter, *, version: str) -> None:
        self._exporter = OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter()
        self._provider = TracerProvider(resource=_resource(version), shutdown_on_exit=False)
        self._follows_parent = isinstance(self._provider.sampler, ParentBased)
        if self._follows_parent:
            self._provider.sampler = _StorySampler(self._provider.sampler)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("signalstack", version)

    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None = None,
        link: str | None = None,
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Open a span as the current one; see `core.stage.Observer`."""
        parent, link = parse(parent), parse(link)
        inherits = parent is None and link is None and kind in ("producer", "client")
        if inherits and isinstance(current.get(), Carried):
            return UNRECORDED
        origin = parent or link
        # Not sampled where it began, so not sampled here: none of the SDK's work is needed.
        if origin is not None and self._follows_parent and not _is_sampled(origin):
            return Carried(origin)
        span = self._tracer.start_span(
            name,
            context=None if inherits else _remote(parent),
            kind=KINDS[kind],
            attributes=_attributes(name, kind, attributes),
            links=[trace.Link(_span_context(link))] if link else (),
        )
        return Recorded(span) if span.is_recording() else Carried(_format(span))

    def close(self, timeout_s: float) -> None:
        """Send what is left; blocks for up to `timeout_s`."""
        # The SDK's own shutdown may take 30 s when the collector is away.
        flush = Thread(target=self._provider.shutdown, name="traces-flush", daemon=True)
        flush.start()
        flush.join(timeout_s)
        if flush.is_alive():
            self._exporter.shutdown()
            _log.warning("traces.lost", reason="the collector did not answer", timeout_s=timeout_s)


class Recorded:
    """A span that is recorded, current while it is open."""

    __slots__ = ("_failed", "_outer", "_span", "_token", "traceparent")
    _outer: Token[Span | None]
    _token: Token[Context]

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._failed = False
        self.traceparent = _format(span)

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def fail(self, reason: str) -> None:
        """Mark the span as an error."""
        self._failed = True
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, mask(reason)))

    def __enter__(self) -> Self:
        # Also OpenTelemetry's own context, for the instrumentation that handlers bring along.
        self._token = context.attach(trace.set_span_in_context(self._span))
        self._outer = current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The type alone: messages and tracebacks may hold what a tenant would not share.
        if kind is not None and issubclass(kind, Exception):
            self._span.set_attribute("error.type", kind.__qualname__)
            if not self._failed:
                self.fail(kind.__qualname__)
        current.reset(self._outer)
        context.detach(self._token)
        self._span.end()


class _StorySampler(Sampler):
    """Keeps a retry, which is only linked to its story, when the story itself is kept."""

    def __init__(self, otherwise: Sampler) -> None:
        self._otherwise = otherwise

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: Kind | None = None,
        attributes: OtelAttributes = None,
        links: Sequence[trace.Link] | None = None,
        trace_state: trace.TraceState | None = None,
    ) -> SamplingResult:
        kept = any(link.context.trace_flags.sampled for link in links or ())
        sampler = ALWAYS_ON if kept else self._otherwise
        return sampler.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return f"Story{{{self._otherwise.get_description()}}}"


def _resource(version: str) -> Resource:
    # Merged by hand, because create() lets what is passed win over what the environment says.
    ours = {"service.name": "signalstack", "service.version": version}
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


def _attributes(name: str, kind: SpanKind, given: Attributes | None) -> Attributes:
    if kind not in ("producer", "consumer"):
        return given or {}
    operation, _, queue = name.partition(" ")
    return {
        "messaging.system": "signalstack",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        **(given or {}),
    }


def _is_sampled(traceparent: str) -> bool:
    return bool(int(traceparent[53:55], 16) & trace.TraceFlags.SAMPLED)


def _span_context(traceparent: str) -> trace.SpanContext:
    return trace.SpanContext(
        trace_id=int(traceparent[3:35], 16),
        span_id=int(traceparent[36:52], 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(traceparent[53:55], 16)),
    )


def _remote(parent: str | None) -> Context:
    # An empty context and not None, which would stand for the current one.
    empty = context.Context()
    if parent is None:
        return empty
    return trace.set_span_in_context(trace.NonRecordingSpan(_span_context(parent)), empty)


def _format(span: trace.Span) -> str:
    made = span.get_span_context()
    return f"00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}"
