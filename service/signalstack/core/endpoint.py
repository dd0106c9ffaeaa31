"""Where webhooks go: an endpoint as a delivery needs it, and which headers its owner may add."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEADERS: Final = 32
MAX_HEADER_VALUE: Final = 4_096

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110, 5.6.2
_VISIBLE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")

# Those that frame the message, belong to the connection (RFC 9110, 7.6.1), or are ours to set.
_RESERVED: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_RESERVED_PREFIXES: Final = ("webhook-", "proxy-")


class DeliveryEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as a delivery needs it.

    `secrets` has the current one first, then the previous one while the two overlap. `failing`
    says that the last delivery failed, so that one which works again has something to clear.
    `paced` says that its deliveries have to ask when they may go: it has a rate, or its receiver
    wants to be left alone for a while.
    """

    id: UUID
    url: str
    headers: dict[str, str]
    active: bool
    secrets: list[str]
    disabled_reason: str | None = None
    failing: bool = False
    paced: bool = False

    def __repr__(self) -> str:
        """Leave out what a log must not show: secrets, headers, and tokens in the URL."""
        return f"DeliveryEndpoint(id={self.id!r}, active={self.active!r})"


def check_headers(headers: Mapping[str, str]) -> None:
    """Check headers that a caller wants on deliveries; a wrong one raises ValueError."""
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"at most {MAX_HEADERS} headers, not {len(headers)}")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header is named twice (case does not tell names apart)")
    for name, value in headers.items():
        _check_header(name, value)


def _check_header(name: str, value: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name[:100]!r} is no header name")
    if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIXES):
        raise ValueError(f"the header {name} is set by SignalStack or belongs to the connection")
    if len(value) > MAX_HEADER_VALUE:
        raise ValueError(f"the value of {name} is longer than {MAX_HEADER_VALUE:,} characters")
    # The value may be a credential: it is never quoted.
    if value and not _VISIBLE.fullmatch(value):
        raise ValueError(f"the value of {name} has characters other than visible ASCII")
