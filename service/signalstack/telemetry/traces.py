"""The trace context of what is going on now, and spans that record nothing.

OpenTelemetry itself is loaded only when somebody collects spans (`spans.py`): without it a span
costs a tenth of a microsecond, yet the context that came in is still handed on.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from contextvars import Token

    from signalstack.core.stage import Attributes, Span, SpanKind

Exporter = Literal["none", "otlp", "console"]

# W3C Trace Context 3.2: a later version may bring more fields, version 00 may not, ff is invalid.
_IDS: Final = r"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT: Final = re.compile(rf"00{_IDS}|(?!00|ff)[0-9a-f]{{2}}{_IDS}(?:-[!-~]{{0,200}})?")

SAMPLED: Final = 1  # the flag of a traceparent

current: Final[ContextVar[Span | None]] = ContextVar("signalstack_span", default=None)


class Tracer(Protocol):
    """Makes spans, and sees to it that they arrive."""

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
        ...

    def close(self, timeout_s: float) -> None:
        """Send what is left; blocks for up to `timeout_s`."""
        ...


def parse(traceparent: str | None) -> str | None:
    """Return a valid W3C `traceparent` as it is, and None for anything else."""
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        return traceparent
    return None


def current_traceparent() -> str | None:
    """Return the W3C trace context of what is going on now."""
    span = current.get()
    return span.traceparent if span is not None else None


def is_recorded() -> bool:
    """Tell whether what is going on now is recorded; the quick question before the next one."""
    span = current.get()
    return span is not None and span.recorded


def recorded_ids() -> tuple[str, str] | None:
    """Return trace id and span id of what is going on now, if that is recorded and sampled."""
    span = current.get()
    if span is None or not span.recorded or span.traceparent is None:
        return None
    if not int(span.traceparent[53:55], 16) & SAMPLED:
        return None
    return span.traceparent[3:35], span.traceparent[36:52]


class Untraced:
    """Records nothing; hands on what came in."""

    def span(
        self,
        name: str,  # noqa: ARG002 - nobody will see it
        kind: SpanKind,  # noqa: ARG002 - the same
        *,
        parent: str | None = None,
        link: str | None = None,
        attributes: Attributes | None = None,  # noqa: ARG002 - the same
    ) -> AbstractContextManager[Span]:
        """Return a span that records nothing."""
        carried = parent or link
        return UNRECORDED if carried is None else Carried(carried)

    def close(self, timeout_s: float) -> None:
        """Do nothing: there is nothing to send."""


class _Unrecorded:
    """A span inside another context that is handed on; all share this one."""

    __slots__ = ()

    @property
    def recorded(self) -> bool:
        """Nobody sees what is set."""
        return False

    @property
    def traceparent(self) -> str | None:
        """The context that this span is in."""
        return current_traceparent()

    def set(self, attributes: Attributes) -> None:
        """Forget them."""

    def fail(self, reason: str) -> None:
        """Forget it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""


UNRECORDED: Final = _Unrecorded()


class Carried(_Unrecorded):
    """A span that hands on a context from elsewhere, and records nothing."""

    __slots__ = ("_outer", "_raw")
    _outer: Token[Span | None]

    def __init__(self, raw: str) -> None:
        self._raw = raw

    @property
    def traceparent(self) -> str | None:
        """The context that came in, when it is a valid one; checked only when asked for."""
        return parse(self._raw)

    def __enter__(self) -> Self:
        self._outer = current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        current.reset(self._outer)
