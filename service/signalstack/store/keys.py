"""Table api_keys: hashed keys, what they may do and how long they are good."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.store.query import Query, fetch_all, fetch_one

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signalstack.store.query import Connection


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What may be shown of a key."""

    id: str
    user_name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What a key must match, and whether it is still good.

    `expires_in_s` is by the database's clock when the row was read; None means never.
    """

    user_id: UUID
    secret_sha256: bytes
    scopes: list[str]
    revoked: bool
    suspended: bool
    expires_in_s: float | None


_INSERT: Final = Query("keys/insert", KeyInfo)
_LIST: Final = Query("keys/list", KeyInfo)
_REVOKE: Final = Query("keys/revoke", KeyInfo)
_FIND: Final = Query("keys/find", Credential)


async def insert(
    conn: Connection,
    *,
    key_id: str,
    user_id: UUID,
    user_name: str,
    secret_sha256: bytes,
    scopes: Iterable[str],
    expires_at: datetime | None,
) -> KeyInfo:
    """Store a new key."""
    stored = await fetch_one(
        conn,
        _INSERT,
        id=key_id,
        user_id=user_id,
        user_name=user_name,
        secret_sha256=secret_sha256,
        scopes=sorted(scopes),
        expires_at=expires_at,
    )
    if stored is None:
        raise LookupError(key_id)
    return stored


async def list_all(conn: Connection, *, user_name: str | None) -> list[KeyInfo]:
    """List the keys of one tenant, or of all."""
    return await fetch_all(conn, _LIST, user_name=user_name)


async def revoke(conn: Connection, *, key_id: str) -> KeyInfo | None:
    """Revoke a key; None when it is unknown."""
    return await fetch_one(conn, _REVOKE, id=key_id)


async def find(conn: Connection, *, key_id: str) -> Credential | None:
    """Find what a key must match."""
    return await fetch_one(conn, _FIND, id=key_id)
