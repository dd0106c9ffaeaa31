"""How log lines look and where they go: JSON for machines, or short lines for people.

What is logged comes from `core.log`; libraries' own lines go the same way from level warning up.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, TextIO, cast

import msgspec

from signalstack.core.log import bound
from signalstack.telemetry.redaction import mask, redact
from signalstack.telemetry.traces import current_traceparent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Level = Literal["debug", "info", "warning", "error", "critical"]
Format = Literal["json", "console"]

OURS: Final = "signalstack"
RESERVED: Final = frozenset({"ts", "level", "event", "logger"})
COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}


def configure(level: Level, format: Format, stream: TextIO | None = None) -> None:  # noqa: A002 - LOG_FORMAT
    """Send all logs of the process to the stream (default: stderr), replacing what this did before.

    Lines below `level` are dropped, and so are libraries' lines below warning.
    """
    out = stream if stream is not None else sys.stderr
    handler = _Handler(out)
    handler.setFormatter(Json() if format == "json" else Console(colour=out.isatty()))
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger(OURS).setLevel(threshold)


class Json(logging.Formatter):
    """One JSON object a line: `ts`, `level`, `event`, `logger`, the fields, then the context."""

    def format(self, record: logging.LogRecord) -> str:
        """Render the record; never fails on what a caller logs."""
        line: dict[str, object] = {
            "ts": _timestamp(record.created),
            "level": record.levelname.lower(),
            "event": mask(record.getMessage()),
            "logger": record.name,
        }
        line.update(_fields(record))
        try:
            return msgspec.json.encode(line).decode()
        except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
            return json.dumps(line, default=str)  # lone surrogates, huge integers


class Console(logging.Formatter):
    """One short line: time, level, event, then the fields as `name=value`."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Render the record; a traceback follows on lines of its own."""
        level = record.levelname.lower()
        event = mask(record.getMessage())
        if not record.name.startswith(OURS):
            event = f"{record.name}: {event}"
        fields = dict(_fields(record))
        traceback = fields.pop("exception", None)
        time = datetime.fromtimestamp(record.created).astimezone().isoformat("T", "milliseconds")
        words = [
            self._paint("2", time[11:23]),
            self._paint(COLOURS.get(level, "0"), f"{level:<7}"),
            self._paint("1", event),
            *(f"{self._paint('2', f'{name}=')}{_plain(value)}" for name, value in fields.items()),
        ]
        return " ".join(words) + (f"\n{traceback}" if traceback else "")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


class _Handler(logging.StreamHandler[TextIO]):
    """Known by its class, so that configuring twice does not print twice."""


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    own = cast("Mapping[str, object]", getattr(record, "fields", None) or {})
    for name, value in {**own, **{k: v for k, v in bound().items() if k not in own}}.items():
        yield (f"{name}_" if name in RESERVED else name), redact(name, value)
    traceparent = current_traceparent()
    if traceparent is not None:
        yield "trace_id", traceparent[3:35]
        yield "span_id", traceparent[36:52]
    if record.exc_info and record.exc_info[0] is not None:
        yield "exception", mask(logging.Formatter().formatException(record.exc_info))


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return json.dumps(text, ensure_ascii=False) if not text or " " in text else text
