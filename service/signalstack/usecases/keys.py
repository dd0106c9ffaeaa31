"""Handing out API keys: create for a tenant, list, revoke. The operator's acts, not a tenant's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core.errors import InvalidError, NotFoundError
from signalstack.core.ids import new_id
from signalstack.core.key import new_key
from signalstack.store import audit, keys, users

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from signalstack.core.key import Scope
    from signalstack.store.keys import KeyInfo
    from signalstack.store.pool import Pool

MAX_USER_NAME: Final = 200


async def create_key(
    pool: Pool,
    user_name: str,
    scopes: Collection[Scope],
    *,
    env: str = "live",
    expires_at: datetime | None = None,
) -> tuple[str, KeyInfo]:
    """Make a key for a tenant, who is made when new; return the token, shown only now, and its row.

    Raises:
        InvalidError: the name, the scopes or the environment is wrong.
    """
    if not 1 <= len(user_name) <= MAX_USER_NAME or not user_name.isprintable():
        raise InvalidError.at("/user", f"must have 1 to {MAX_USER_NAME} printable characters")
    if not scopes:
        raise InvalidError.at("/scopes", "a key needs at least one scope")
    try:
        made = new_key(env)
    except ValueError as error:
        raise InvalidError.at("/env", str(error)) from None
    async with pool.transaction() as conn:
        await audit.sign(conn)
        user_id = await users.ensure(conn, name=user_name, new_id=new_id())
        info = await keys.insert(
            conn,
            key_id=made.id,
            user_id=user_id,
            user_name=user_name,
            secret_sha256=made.secret_sha256,
            scopes={scope.value for scope in scopes},
            expires_at=expires_at,
        )
    return made.token, info


async def list_keys(pool: Pool, user_name: str | None = None) -> list[KeyInfo]:
    """List the keys of one tenant, or of all."""
    async with pool.connection() as conn:
        return await keys.list_all(conn, user_name=user_name)


async def revoke_key(pool: Pool, key_id: str) -> KeyInfo:
    """Revoke a key; processes that remember it refuse it within `Authenticator`'s ttl.

    Raises:
        NotFoundError: there is no such key.
    """
    async with pool.transaction() as conn:
        await audit.sign(conn)
        revoked = await keys.revoke(conn, key_id=key_id)
    if revoked is None:
        raise NotFoundError(f"there is no key {key_id}")
    return revoked
