"""What makes a repeated request the same request: its key and the fingerprint of its body."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from signalstack.api import codec
from signalstack.core.errors import InvalidError, MalformedError

if TYPE_CHECKING:
    from signalstack.api.headers import Headers

REPLAYED: Final = (b"idempotent-replayed", b"true")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def key_of(headers: Headers, in_body: str | None = None) -> str | None:
    """Take the key from the header `Idempotency-Key` or the body.

    Raises MalformedError for a header that is no key, InvalidError when the two differ.
    """
    given = headers.get("idempotency-key")
    if given is None:
        return in_body
    if not _KEY.fullmatch(given):
        raise MalformedError("Idempotency-Key must be 1 to 255 visible ASCII characters")
    if in_body is not None and in_body != given:
        raise InvalidError.at("/idempotency_key", "differs from the header Idempotency-Key")
    return given


def fingerprint(body: object) -> bytes:
    """Hash a body (SHA-256), the same for all that say the same."""
    return sha256(codec.canonical(body)).digest()
