"""A handler's context and an observer for tests that call a handler without a worker."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import msgspec

if TYPE_CHECKING:
    from collections.abc import Generator

    from signalstack.core.stage import Attributes, Fact, SpanKind

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class LogLines:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(("error", event, fields))


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """The context of a run, every part of it chosen by the test."""

    job_id: UUID = msgspec.field(default_factory=uuid4)
    user_id: UUID = msgspec.field(default_factory=uuid4)
    attempt: int = 1
    max_attempts: int = 3
    postponed_since: datetime | None = None
    deadline: datetime = msgspec.field(
        default_factory=lambda: datetime.now(UTC) + timedelta(seconds=30)
    )
    cancelled: bool = False
    traceparent: str | None = TRACEPARENT
    logger: LogLines = msgspec.field(default_factory=LogLines)


class SeenSpan:
    """A span with its attributes readable."""

    def __init__(self, name: str, kind: SpanKind, attributes: dict[str, object]) -> None:
        self.name = name
        self.kind = kind
        self.attributes = attributes
        self.failure: str | None = None
        self.recorded = True

    @property
    def traceparent(self) -> str | None:
        return "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01"

    def set(self, attributes: Attributes) -> None:
        self.attributes |= attributes

    def fail(self, reason: str) -> None:
        self.failure = reason


class Witness:
    """An observer that remembers facts and spans."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.spans: list[SeenSpan] = []

    def tell(self, fact: Fact) -> None:
        self.facts.append(fact)

    @contextmanager
    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None = None,
        link: str | None = None,
        attributes: Attributes | None = None,
    ) -> Generator[SeenSpan]:
        del parent, link
        seen = SeenSpan(name, kind, dict(attributes or {}))
        self.spans.append(seen)
        yield seen
