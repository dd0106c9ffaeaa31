"""A real OTLP/HTTP receiver: keeps the spans that are sent to it, decoded."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1 import trace_pb2


class Collector:
    """Keeps the spans that are sent to it; `answers=False` makes it hang instead."""

    def __init__(self, *, answers: bool = True) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: set[str] = set()
        self.headers: list[dict[str, str]] = []
        self.released = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if not answers:
                    collector.released.wait(10)
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                collector.paths.add(self.path)
                collector.headers.append({k.lower(): v for k, v in self.headers.items()})
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def spans(self) -> dict[str, trace_pb2.Span]:
        """The spans by name; of several of one name the last."""
        return {span.name: span for span in self.all}

    @property
    def all(self) -> list[trace_pb2.Span]:
        """All spans, as they came."""
        scopes = [s for r in self.requests for rs in r.resource_spans for s in rs.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    @property
    def resource(self) -> dict[str, object]:
        """Who sent the first spans."""
        return fields(self.requests[0].resource_spans[0].resource.attributes)

    def close(self) -> None:
        """Stop listening."""
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def fields(attributes: Any) -> dict[str, object]:
    """Read attributes as plain values."""
    pairs: list[KeyValue] = list(attributes)
    return {kv.key: getattr(kv.value, kv.value.WhichOneof("value") or "") for kv in pairs}
