"""What must not be seen in logs and traces: fields named like secrets, and secrets inside text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

HIDDEN: Final = "***"
MAX_DEPTH: Final = 6

_SECRET_NAME: Final = re.compile(
    r"authorization|api[_-]?key|auth[_-]?key|secret|password|passwd|dsn|cookie|token|credential",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(
    r"(?P<url>://[^\s:/?#@]*:)[^\s/?#@]+(?=@)"  # user:password@ of a DSN or URL
    r"|(?P<pair>\b(?:password|passwd|sslpassword|secret)\s*=\s*)(?:'[^']*'|[^\s&'\"]+)"
    r"|(?P<bearer>\bBearer\s+)[\w.~+/=-]+"
    r"|(?P<webhook>\bwhsec_)[\w+/=-]+"
    r"|(?P<key>\bss_[a-z0-9]+_[A-Za-z0-9]+_)[A-Za-z0-9]+(?:_[A-Za-z0-9]+)?",
    re.IGNORECASE,
)


def mask(text: str) -> str:
    """Return the text without the passwords of DSNs, API keys and signing secrets in it."""
    return _SECRET_TEXT.sub(lambda found: f"{found[found.lastgroup or 0]}{HIDDEN}", text)


def redact(name: str, value: object, depth: int = 0) -> object:
    """Return the value fit to be shown under this name, nested values included."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _redact_inside(cast("Iterable[object]", value), depth + 1)
    return mask(str(value))


def _redact_inside(value: Iterable[object], depth: int) -> object:
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value)
        return {str(key): redact(str(key), item, depth) for key, item in pairs.items()}
    return [redact("", item, depth) for item in value]
