"""How the text of one setting becomes a value; each refusal says what would be right."""

from __future__ import annotations

import re
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

from signalstack.core.duration import parse_duration
from signalstack.core.queue import NAME
from signalstack.core.token_bucket import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

RATE_LIMIT: Final = 1_000_000

_ON: Final = frozenset({"on", "true", "yes", "1"})
_OFF: Final = frozenset({"off", "false", "no", "0"})
_CREDENTIALS: Final = re.compile(
    r"^((?:[a-z][a-z0-9+.-]*://)?[^:@/=\s]*):.*@", re.IGNORECASE | re.DOTALL
)
_PASSWORD: Final = re.compile(
    r"(pass(?:word|phrase)\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]+)", re.IGNORECASE
)


def mask(text: str) -> str:
    """Hide the passwords in a DSN or URL, also in one that is malformed."""
    return _PASSWORD.sub(r"\1***", _CREDENTIALS.sub(r"\1:***@", text))


def address(text: str) -> str:
    """Take a host name or IP address to listen on."""
    if re.search(r"[\s/]", text):
        raise ValueError("must be a host name or an IP address to listen on")
    return text


def dsn(text: str) -> str:
    """Take a PostgreSQL URI or a `key=value` connection string; libpq judges the rest."""
    if not re.match(r"postgres(ql)?://|[a-z_]+\s*=", text):
        raise ValueError("must be like postgresql://user:password@host:5432/database")
    return text


def url(text: str) -> str:
    """Take an absolute HTTP URL."""
    if not re.match(r"https?://[^/\s]", text, re.IGNORECASE):
        raise ValueError("must be an http:// or https:// URL")
    return text


def redis(text: str) -> str:
    """Take the URL of a Redis server."""
    if not re.match(r"(rediss?|unix)://[^\s]", text):
        raise ValueError("must be like redis://user:password@host:6379/0")
    return text


def folder(text: str) -> Path | None:
    """Take an absolute path; a relative one counts as none, as the XDG specification has it."""
    path = Path(text)
    return path if path.is_absolute() else None


def attribute(text: str) -> str:
    """Take the name of a module's attribute, `package.module:NAME`."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", text, re.ASCII):
        raise ValueError("must be like package.module:HANDLERS")
    return text


def queues(text: str) -> tuple[str, ...]:
    """Take queue names parted by commas, each once."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(NAME.fullmatch(name) for name in names):
        raise ValueError("must be queue names like a,b: lower case, digits, and _ . : - within")
    return names


def switch(text: str) -> bool:
    """Take `on` or `off`, or one of their usual synonyms."""
    if text.lower() not in _ON | _OFF:
        raise ValueError("must be on or off")
    return text.lower() in _ON


def otel_boolean(text: str) -> bool:
    """Take OpenTelemetry's idea of true: the word alone, in any case."""
    return text.lower() == "true"


def one_of(*words: str) -> Callable[[str], str]:
    """Make the parser for one of these words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return text.lower()

    return parse


def whole(least: int, most: int) -> Callable[[str], int]:
    """Make the parser for a whole number between these two."""

    def parse(text: str) -> int:
        # ASCII digits alone: int() also takes signs, underscores and other scripts' digits.
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def rate(text: str) -> Rate:
    """Take requests per second, and after a colon how many may come at once (else as many)."""
    match = re.fullmatch(r"([0-9]{1,7})(?::([0-9]{1,7}))?", text)
    per_s, burst = (int(part) for part in match.groups(match[1])) if match else (0, 0)
    if not (0 < per_s <= RATE_LIMIT and 0 < burst <= RATE_LIMIT):
        raise ValueError(
            "must be requests per second, or those and a burst, like 100 or 100:200, "
            f"each from 1 to {RATE_LIMIT}"
        )
    return Rate(per_s=per_s, burst=burst)


def duration(least: str, most: str, *, never: bool = False) -> Callable[[str], float]:
    """Make the parser for a duration between these two, in seconds; or for `0s`: never."""
    least_s, most_s = parse_duration(least), parse_duration(most)

    def parse(text: str) -> float:
        right = f"must be a duration from {least} to {most}, like 500ms, 5s, 2m or 1h"
        right += "; or 0s: never" if never else ""
        try:
            found = parse_duration(text)
        except ValueError as error:
            raise ValueError(right) from error
        if not least_s <= found <= most_s and not (never and found == 0):
            raise ValueError(right)
        return found

    return parse


def kept(least: str, most: str) -> Callable[[str], float]:
    """Make the parser for a duration between these two, in seconds, or `off`: endless."""
    timed = duration(least, most)

    def parse(text: str) -> float:
        if text.lower() == "off":
            return inf
        try:
            return timed(text)
        except ValueError as error:
            raise ValueError(
                f"must be a duration from {least} to {most}, like 7d, or off to keep for ever"
            ) from error

    return parse


def seconds(least: int, most: int) -> Callable[[str], float]:
    """Make the parser for a number of seconds, which a duration may say as well."""
    timed = duration(f"{least}s", f"{most}s")

    def parse(text: str) -> float:
        try:
            return timed(f"{text}s" if re.fullmatch(r"[0-9.]+", text) else text)
        except ValueError as error:
            raise ValueError(f"must be a number of seconds from {least} to {most}") from error

    return parse
