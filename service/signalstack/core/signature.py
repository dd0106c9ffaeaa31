"""Webhook signatures by Standard Webhooks 1.0: symmetric `v1`, several during rotation."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from secrets import token_bytes
from typing import TYPE_CHECKING, Final

from signalstack.core.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

TOLERANCE_S: Final = 300

_PREFIX: Final = "whsec_"
_MIN_BYTES: Final = 24
_MAX_BYTES: Final = 64
_NEW_BYTES: Final = 32
_VERSION: Final = "v1"
# A rotation shows two; more only buy a sender our time.
_MAX_SIGNATURES: Final = 16
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


def new_secret() -> str:
    """Make a secret of 256 random bits, as `whsec_` and base64."""
    return _PREFIX + base64.b64encode(token_bytes(_NEW_BYTES)).decode()


def check_secret(secret: str, pointer: str = "/secret") -> None:
    """Raise InvalidError unless a secret is `whsec_` and the base64 of 24 to 64 bytes."""
    try:
        _key(secret)
    except ValueError as error:
        raise InvalidError.at(pointer, str(error)) from None


def sign(secrets: Sequence[str], *, id: str, timestamp: int, body: bytes) -> str:  # noqa: A002 - the standard's name for it
    """Sign a message with every secret given: the value of the header `webhook-signature`.

    Args:
        secrets: the current one, then the previous one while both are valid.
        id: the value of `webhook-id`; the same for every attempt.
        timestamp: the value of `webhook-timestamp`, Unix seconds of this attempt.
        body: exactly the bytes that are sent.

    Raises:
        ValueError: a secret is malformed.
    """
    message = f"{id}.{timestamp}.".encode() + body
    return " ".join(f"{_VERSION},{_digest(_key(secret), message)}" for secret in secrets)


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    tolerance_s: float = TOLERANCE_S,
) -> bool:
    """Tell whether one of the secrets signed a message, and recently.

    Compares in constant time. Header names are taken in any case.

    Raises:
        ValueError: a secret is malformed, or there is none.
    """
    # Before anything of the sender's, or a wrong secret would look like a forged message.
    keys = [_key(secret) for secret in secrets]
    if not keys:
        raise ValueError("there is no signing secret to verify with")
    named = {name.lower(): value for name, value in headers.items()}
    given_id, timestamp = named.get("webhook-id"), named.get("webhook-timestamp", "")
    if not given_id or not _TIMESTAMP.fullmatch(timestamp):
        return False
    if abs(now.timestamp() - int(timestamp)) > tolerance_s:
        return False
    # The timestamp is signed as it was written, not as it was understood.
    message = f"{given_id}.{timestamp}.".encode(errors="replace") + body
    expected = [_digest(key, message).encode() for key in keys]
    given = named.get("webhook-signature", "").split(" ")[:_MAX_SIGNATURES]
    found = False
    for signature in given:
        version, _, digest = signature.partition(",")
        for candidate in expected:
            equal = hmac.compare_digest(candidate, digest.encode(errors="replace"))
            found |= equal and version == _VERSION
    return found


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        raise ValueError(f"a signing secret begins with {_PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a signing secret is {_PREFIX} followed by base64") from None
    if not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise ValueError(f"a signing secret holds {_MIN_BYTES} to {_MAX_BYTES} bytes")
    return key


def _digest(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode()
