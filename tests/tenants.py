"""Pools and tenants for tests that need a database with somebody in it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from contexts import Witness
from signalstack.core.ids import new_id
from signalstack.store import users
from signalstack.store.pool import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID


@asynccontextmanager
async def open_pool(dsn: str, **settings: Any) -> AsyncGenerator[Pool]:
    """Open a pool whose observer nobody asks."""
    async with Pool(dsn, Witness(), **settings) as pool:
        yield pool


async def make_tenant(pool: Pool, name: str = "acme") -> UUID:
    """Make a tenant."""
    async with pool.connection() as conn:
        return await users.ensure(conn, name=name, new_id=new_id())
