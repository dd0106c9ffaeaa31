"""What request headers say: folded once, refused when ambiguous, and read by name."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from signalstack.api.problems import AmbiguousError, HeadersTooLargeError
from signalstack.core.ids import new_id_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Headers = dict[str, str]

MAX_HEADERS: Final = 100
MAX_BYTES: Final = 16_384

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Version ff and all-zero ids are invalid by W3C Trace Context, 3.2.2.
TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_CONTROLS: Final = bytes({*range(0x20), 0x7F} - {ord("\t")})
ONCE: Final = (
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "transfer-encoding",
    "x-api-key",
)


def fold(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Gather ASGI headers by lower-case name; values of a repeated one are joined by a comma."""
    folded: Headers = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        folded[key] = f"{folded[key]}, {text}" if key in folded else text
    return folded


def refuse_unsound(raw: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuse more headers than anybody needs, and control characters, which some read as an end.

    The server bounds only a head that comes bit by bit, not one that arrives at once. Raises
    HeadersTooLargeError or AmbiguousError.
    """
    if len(raw) > MAX_HEADERS:
        raise HeadersTooLargeError(f"there are {len(raw)} headers; {MAX_HEADERS} is the limit")
    whole = b"".join(chain.from_iterable(raw))
    if len(whole.translate(None, _CONTROLS)) != len(whole):
        raise AmbiguousError("a header holds a control character")
    if len(whole) > MAX_BYTES:
        raise HeadersTooLargeError(f"the headers have {len(whole)} bytes; {MAX_BYTES} is the limit")


def refuse_ambiguous(raw: Sequence[tuple[bytes, bytes]], folded: Headers) -> None:
    """Raise AmbiguousError where two parties could read the request differently.

    Content-Length beside Transfer-Encoding smuggles requests past a proxy (RFC 9112, 6.1).
    """
    if "content-length" in folded:
        if "transfer-encoding" in folded:
            raise AmbiguousError("Content-Length and Transfer-Encoding exclude each other")
        content_length(folded)
    if len(raw) != len(folded):
        names = [name.decode("latin-1").lower() for name, _ in raw]
        for name in folded:
            # A CloudEvent's attributes have one value each, too.
            if (name in ONCE or name.startswith("ce-")) and names.count(name) > 1:
                raise AmbiguousError(f"the header {name[:64]} is given more than once")


def content_length(folded: Headers) -> int | None:
    """Read Content-Length in bytes, or None; AmbiguousError when it is no number."""
    text = folded.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise AmbiguousError("Content-Length is not a number")
    # Past 18 digits only the fact that it is too much matters, and int() must not be made to work.
    return int(text) if len(text) <= 18 else 10**18  # noqa: PLR2004 - see above


def expects_body(folded: Headers) -> bool:
    """Tell whether the request announced a body."""
    return "transfer-encoding" in folded or folded.get("content-length", "0") != "0"


def request_id(folded: Headers) -> str:
    """Take the caller's X-Request-ID when it is sane, else make one."""
    given = folded.get("x-request-id")
    if given is not None and REQUEST_ID.fullmatch(given):
        return given
    return new_id_text()


def traceparent(folded: Headers) -> str | None:
    """Read a valid W3C `traceparent`; anything else counts as absent, as the standard asks."""
    given = folded.get("traceparent")
    return given if given is not None and TRACEPARENT.fullmatch(given) else None
