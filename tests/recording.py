"""An observer that keeps what it is told, so that tests wait on facts and not on time."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from signalstack.core.stage import Attributes, Fact, SpanKind

F = TypeVar("F", bound="Fact")


class RecordedSpan:
    """A span as a test looks at it; it hands on its parent, or else its link."""

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None,
        link: str | None,
        attributes: Attributes | None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.parent = parent
        self.link = link
        self.attributes = dict(attributes or {})
        self.failure: str | None = None
        self.recorded = True
        self.open = True
        self.traceparent = parent or link

    def set(self, attributes: Attributes) -> None:
        self.attributes.update(attributes)

    def fail(self, reason: str) -> None:
        self.failure = reason


class RecordingObserver:
    """Implements `core.stage.Observer`; may be told from any thread."""

    def __init__(self) -> None:
        self.told: list[Fact] = []
        self.spans: list[RecordedSpan] = []
        self._waiting: list[Callable[[], None]] = []

    def tell(self, fact: Fact) -> None:
        self.told.append(fact)
        for wake in list(self._waiting):
            wake()

    @contextmanager
    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None = None,
        link: str | None = None,
        attributes: Attributes | None = None,
    ) -> Generator[RecordedSpan, None, None]:
        span = RecordedSpan(name, kind, parent=parent, link=link, attributes=attributes)
        self.spans.append(span)
        try:
            yield span
        finally:
            span.open = False

    def facts(self, kind: type[F], **equals: object) -> list[F]:
        """Return the facts told so far that match, in order."""
        return [fact for fact in list(self.told) if isinstance(fact, kind) and _fits(fact, equals)]

    async def seen(
        self, kind: type[F], *, count: int = 1, timeout_s: float = 5, **equals: object
    ) -> F:
        """Wait for the `count`-th fact that matches, told before or after this call, and return it.

        A field equals its value; a tuple, such as `Settled.jobs`, may also just contain it.
        """
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        self._waiting.append(wake)
        try:
            async with asyncio.timeout(timeout_s):
                while len(found := self.facts(kind, **equals)) < count:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            raise AssertionError(self._account(kind, count, timeout_s, equals)) from None
        finally:
            self._waiting.remove(wake)
        return found[count - 1]

    def _account(
        self, kind: type[Fact], count: int, timeout_s: float, equals: dict[str, object]
    ) -> str:
        wanted = ", ".join(f"{name}={value!r}" for name, value in equals.items())
        near = self.facts(kind)[-20:]
        tally = Counter(type(fact).__name__ for fact in list(self.told))
        return "\n  ".join(
            [
                f"not seen within {timeout_s} s: {count} of {kind.__name__}({wanted})",
                f"told in all: {dict(tally) or 'nothing'}",
                f"matching: {len(self.facts(kind, **equals))}; last of this kind:",
                *(repr(fact) for fact in near),
            ]
        )


def _fits(fact: Fact, equals: dict[str, object]) -> bool:
    return all(_matches(getattr(fact, name), value) for name, value in equals.items())


def _matches(actual: object, wanted: object) -> bool:
    return actual == wanted or (isinstance(actual, tuple) and wanted in actual)
