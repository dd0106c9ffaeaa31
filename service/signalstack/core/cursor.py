"""Cursors of lists: opaque, signed, and good for one tenant's one list with the same filters."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final
from uuid import UUID

from signalstack.core.errors import MalformedError

_ID_BYTES: Final = 16
_SEAL_BYTES: Final = 16


class Cursors:
    """Makes and reads cursors with a key that all API processes share."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, last: UUID, *, user_id: UUID, scope: bytes) -> str:
        """Make the cursor of the page after `last`; `scope` tells the list and its filters."""
        sealed = last.bytes + self._seal(last.bytes, user_id, scope)
        return urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")

    def unseal(self, cursor: str, *, user_id: UUID, scope: bytes) -> UUID:
        """Read the id that a cursor stands for.

        Raises:
            MalformedError: it was not made here, for another tenant or for another list.
        """
        sealed = _decode(cursor)
        last = sealed[:_ID_BYTES]
        if not hmac.compare_digest(sealed[_ID_BYTES:], self._seal(last, user_id, scope)):
            raise MalformedError(
                "query parameter cursor: take it from next_cursor, unchanged, "
                "and keep the other parameters"
            )
        return UUID(bytes=last)

    def _seal(self, last: bytes, user_id: UUID, scope: bytes) -> bytes:
        # The parts of fixed length lead, so that no two inputs run together into the same bytes.
        return hmac.digest(self._key, user_id.bytes + last + scope, sha256)[:_SEAL_BYTES]


def _decode(cursor: str) -> bytes:
    """Undo base64; what is not exactly what `seal` writes becomes bytes that no seal fits."""
    try:
        sealed = urlsafe_b64decode(cursor + "==")
    except ValueError:
        return b""
    # The decoder passes over foreign characters and spare bits: one id, one cursor.
    written = urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")
    return sealed if written == cursor else b""
