"""Spans by OpenTelemetry's SDK: what is sent by OTLP when somebody collects traces.

The SDK and its exporter read the standard `OTEL_*` variables themselves. No global is set, so an
application that embeds this one keeps its own tracing.
"""

from __future__ import annotations

import re
from threading import Thread
from typing import TYPE_CHECKING, Final, Self

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
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

_RATIO: Final = re.compile(r"ParentBased\{root:TraceIdRatioBased\{([0-9.e+-]+)\}")
_VERSION_00: Final = 55  # characters of a traceparent
_EVEN: Final = "02468ace"  # last digits of its flags where SAMPLED is not set
_NOWHERE: Final = context.Context()  # not None, which would stand for the current one
_log = get_logger("signalstack.traces")


class Recorder:
    """Records spans and sends them in batches from a thread of the SDK's."""

    def __init__(self, exporter: Exporter, *, version: str) -> None:
        self._exporter = OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter()
        self._provider = TracerProvider(resource=_resource(version), shutdown_on_exit=False)
        self._follows_parent = isinstance(self._provider.sampler, ParentBased)
        self._bound = _root_bound(self._provider.sampler)
        self._ids = _Ids()
        self._provider.id_generator = self._ids
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
        origin = parent or link
        if origin is not None and self._follows_parent and _is_plainly_unsampled(origin):
            return Carried(origin)
        parent, link = parse(parent), parse(link)
        inherits = parent is None and link is None and kind in ("producer", "client")
        if inherits and isinstance(current.get(), Carried):
            return UNRECORDED
        origin = parent or link
        # Not sampled where it began, so not sampled here: none of the SDK's work is needed.
        if origin is not None and self._follows_parent and not _is_sampled(origin):
            return Carried(origin)
        if origin is None and not inherits and self._bound is not None:
            trace_id = self._ids.generate_trace_id()
            if trace_id & TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound:
                return _Unsampled(trace_id, self._ids)
            self._ids.give_next(trace_id)  # to the span that begins here
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


class _Unsampled(Carried):
    """A span of a trace that begins here and is not recorded; few ask for its context."""

    __slots__ = ("_ids", "_told", "_trace_id")

    def __init__(self, trace_id: int, ids: _Ids) -> None:
        self._trace_id = trace_id
        self._ids = ids
        self._told: str | None = None

    @property
    def traceparent(self) -> str:
        """The context, which is made when it is first asked for and stays the same."""
        if self._told is None:
            self._told = f"00-{self._trace_id:032x}-{self._ids.generate_span_id():016x}-02"
        return self._told


class Recorded:
    """A span that is recorded, current while it is open."""

    __slots__ = ("_failed", "_outer", "_span", "_token", "traceparent")
    _outer: Token[Span | None]
    _token: Token[Context]

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._failed = False
        self.traceparent = _format(span)

    @property
    def recorded(self) -> bool:
        """What is set will be sent."""
        return True

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


class _Ids(RandomIdGenerator):
    """Makes ids; a trace that was decided on beforehand keeps the id by which it was."""

    def __init__(self) -> None:
        self._next: int | None = None

    def give_next(self, trace_id: int) -> None:
        """Have the next trace that begins bear this id."""
        self._next = trace_id

    def generate_trace_id(self) -> int:
        """Return the id of the trace that was decided on, or a new one."""
        known, self._next = self._next, None
        return known if known is not None else super().generate_trace_id()


def _root_bound(sampler: Sampler) -> int | None:
    """Tell below which number a trace that begins here is sampled, where its id alone decides.

    Most traces are not, and a span of the SDK's that records nothing costs ten times the question.
    """
    ratio = _RATIO.match(sampler.get_description())
    return None if ratio is None else TraceIdRatioBased.get_bound_for_rate(float(ratio[1]))


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


def _is_plainly_unsampled(given: str) -> bool:
    """Tell by its length and last digit what most jobs carry; it is read only when asked for."""
    return len(given) == _VERSION_00 and given[-1] in _EVEN


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
    if parent is None:
        return _NOWHERE
    return trace.set_span_in_context(trace.NonRecordingSpan(_span_context(parent)), _NOWHERE)


def _format(span: trace.Span) -> str:
    made = span.get_span_context()
    return f"00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}"
