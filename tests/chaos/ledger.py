"""The ledgers of a chaos run beside the database: what callers were told, what handlers saw."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from chaos.handlers import Note

if TYPE_CHECKING:
    from pathlib import Path


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a handler by the machine's monotonic clock; no `end` when it was killed."""

    job: str
    attempt: int
    pid: int
    start: float
    end: float | None


class Told(msgspec.Struct, kw_only=True):
    """What the callers of a run were told."""

    acknowledged: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Job id → tenant, of every 2xx."""
    cancelled: set[str] = msgspec.field(default_factory=set[str])
    statuses: Counter[int] = msgspec.field(default_factory=Counter[int])
    unanswered: int = 0
    schedule: str | None = None
    """The schedule that ticked every second."""
    replayed_as_another: list[str] = msgspec.field(default_factory=list[str])
    """Idempotency keys that came back with another job than before."""
    seen_of_others: list[str] = msgspec.field(default_factory=list[str])
    """Job ids that a tenant was shown although they are another's."""


def read_spans(path: Path) -> list[Span]:
    """Pair the starts and ends in the handlers' ledger."""
    spans: list[Span] = []
    open_: dict[tuple[str, int, int], Note] = {}
    lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        note = msgspec.json.decode(line, type=Note)
        key = (note.job, note.attempt, note.pid)
        if not note.end:
            if (earlier := open_.pop(key, None)) is not None:
                spans.append(_span(earlier, None))
            open_[key] = note
        elif (start := open_.pop(key, None)) is not None:
            spans.append(_span(start, note.at))
    spans.extend(_span(start, None) for start in open_.values())
    return sorted(spans, key=lambda span: span.start)


def _span(start: Note, end: float | None) -> Span:
    return Span(job=start.job, attempt=start.attempt, pid=start.pid, start=start.at, end=end)
