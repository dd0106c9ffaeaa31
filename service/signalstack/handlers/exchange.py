"""What the spans of requests to other hosts say: whom was asked, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signalstack.core.stage import Attributes, Span
    from signalstack.handlers.outbound import Destination


def ask(method: str, to: Destination) -> Attributes:
    """Give the attributes that are known beforehand; a path may hold what must not be shown."""
    return {
        "http.request.method": method,
        "server.address": to.host,
        "server.port": to.port,
        "url.scheme": to.scheme,
    }


def answered(span: Span, status: int) -> None:
    """Note the status of an answer; whatever is no success makes the span an error."""
    span.set({"http.response.status_code": status})
    if not 200 <= status < 300:  # noqa: PLR2004 - the class of success
        span.set({"error.type": str(status)})
        span.fail(f"answered {status}")
