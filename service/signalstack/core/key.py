"""API keys `ss_<env>_<id>_<secret>_<crc>`: making, reading and comparing them, and their scopes.

The prefix lets secret scanners find a leaked key, the checksum lets typos and forgeries be refused
without a query, and only the SHA-256 of the secret is kept: with 256 random bits nothing slower is
needed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARS: Final = 12
_SECRET_BYTES: Final = 32
_SECRET_CHARS: Final = 43  # 62^43 > 2^256
_CRC_CHARS: Final = 6  # 62^6 > 2^32
_ENVIRONMENT: Final = re.compile(r"[a-z]{2,8}")
_TOKEN: Final = re.compile(
    rf"(?P<body>ss_[a-z]{{2,8}}_(?P<id>[0-9A-Za-z]{{{_ID_CHARS}}})"
    rf"_(?P<secret>[0-9A-Za-z]{{{_SECRET_CHARS}}}))_(?P<crc>[0-9A-Za-z]{{{_CRC_CHARS}}})"
)


class Scope(StrEnum):
    """What a key may do. `admin` implies the others; `write` does not imply `read`.

    So a key that only sends events, and leaks, shows nothing of what was sent.
    """

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made; `token` is shown once and kept nowhere."""

    id: str
    secret_sha256: bytes
    token: str

    def __repr__(self) -> str:
        """Leave out the token: it must not reach a log."""
        return f"NewKey(id={self.id!r})"


class ParsedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed key as a caller presented it; nothing is known of its truth yet."""

    id: str
    secret_sha256: bytes


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling: the tenant and the key it called with."""

    user_id: UUID
    key_id: str
    scopes: frozenset[Scope]


def new_key(env: str) -> NewKey:
    """Make a key for an environment such as `live` or `test`.

    Raises:
        ValueError: `env` is not 2 to 8 lower-case letters.
    """
    if not _ENVIRONMENT.fullmatch(env):
        raise ValueError(f"{env!r} is not an environment: 2 to 8 letters a-z")
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARS))
    secret = _base62(int.from_bytes(secrets.token_bytes(_SECRET_BYTES)), _SECRET_CHARS)
    body = f"ss_{env}_{key_id}_{secret}"
    return NewKey(id=key_id, secret_sha256=_digest(secret), token=f"{body}_{_checksum(body)}")


def parse_key(token: str) -> ParsedKey | None:
    """Read a key; None for whatever is not one, its checksum included."""
    match = _TOKEN.fullmatch(token)
    if match is None or match["crc"] != _checksum(match["body"]):
        return None
    return ParsedKey(id=match["id"], secret_sha256=_digest(match["secret"]))


def matches(stored_sha256: bytes, parsed: ParsedKey) -> bool:
    """Tell, in constant time, whether a presented key has the stored secret."""
    return hmac.compare_digest(stored_sha256, parsed.secret_sha256)


def allows(scopes: Collection[str], needed: Scope) -> bool:
    """Tell whether a key with `scopes` may do what needs the scope `needed`."""
    return needed in scopes or Scope.ADMIN in scopes


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CRC_CHARS)


def _base62(number: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
