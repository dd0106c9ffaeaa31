"""Reviewing who did what to keys and configuration: the operator's, on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalstack.store import audit

if TYPE_CHECKING:
    from signalstack.store.audit import Act
    from signalstack.store.pool import Pool


async def list_acts(
    pool: Pool, user_name: str | None = None, *, since_s: float | None = None, limit: int = 100
) -> list[Act]:
    """List the newest acts first: of one tenant or of all, of the last so many seconds or ever."""
    async with pool.connection() as conn:
        return await audit.list_newest(conn, user_name=user_name, since_s=since_s, limit=limit)
