"""The target of a request: refused when two parties could read it differently."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from signalstack.api.problems import AmbiguousError, VersionError
from signalstack.core.errors import MalformedError

if TYPE_CHECKING:
    from starlette.types import Scope

    from signalstack.api.headers import Headers

_VERSIONS: Final = ("1.0", "1.1")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# %2F and %5C are a slash to some proxies and no slash to others.
_SLASHES: Final = re.compile(rb"(?i)%2f|%5c|\\")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check(scope: Scope, headers: Headers) -> None:
    """Refuse a protocol that is not served here, and a path or query with more than one reading.

    Raises:
        VersionError: HTTP/2 without TLS, which is a way around a proxy that upgrades (h2c).
        AmbiguousError: chunks in HTTP/1.0, which knows none (RFC 9112, 6.1).
        MalformedError: no path, or broken, doubtful or non-UTF-8 percent-encoding.
    """
    version = scope.get("http_version", "1.1")
    if version not in _VERSIONS:
        raise VersionError(f"HTTP/{version[:8]} is not served here: use HTTP/1.1")
    if version == "1.0" and "transfer-encoding" in headers:
        raise AmbiguousError("HTTP/1.0 has no Transfer-Encoding")
    raw: bytes | None = scope.get("raw_path")
    if raw is not None:
        _check_path(raw)
    if _BAD_ESCAPE.search(scope["query_string"]):
        raise MalformedError("the query string has a % that two hexadecimal digits do not follow")


def _check_path(raw: bytes) -> None:
    if not raw.startswith(b"/"):
        raise MalformedError("the request target must be a path that begins with /")
    if b"%" not in raw and b"\\" not in raw:
        return
    if _BAD_ESCAPE.search(raw):
        raise MalformedError("the path has a % that two hexadecimal digits do not follow")
    if _SLASHES.search(raw):
        raise MalformedError("the path must not hold a slash or backslash that is percent-encoded")
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise MalformedError("the path is not percent-encoded UTF-8") from None
    if _CONTROLS.search(path):
        raise MalformedError("the path must not hold control characters")
