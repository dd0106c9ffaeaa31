"""Can this process serve: each thing that it depends on, and why that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.errors import SchemaError, UnavailableError
from signalstack.store import migrate
from signalstack.store.migrations import applied
from signalstack.store.pool import why_unreachable

if TYPE_CHECKING:
    from signalstack.store.pool import Pool

# A pool whose connections are all lent hands one on within this time, or it is short of them.
_LEND_S: Final = 0.7


async def check_postgresql(pool: Pool, dsn: str) -> str | None:
    """Tell why PostgreSQL cannot be used, or None."""
    lent = False
    try:
        with anyio.fail_after(_LEND_S):
            async with pool.connection() as conn:
                lent = True
                await applied(conn)  # a server that stands still keeps its connections
                return None
    except (UnavailableError, TimeoutError):
        if lent:
            return "connected, and no answer: the server is overloaded, locked, or stands still"
        busy = "all pooled connections are lent: raise DB_POOL_MAX, or find what holds them"
        return await why_unreachable(dsn) or busy


async def check_schema(pool: Pool) -> str | None:
    """Tell why this process does not fit the database any more, or None.

    It started on the schema of its own build. A newer one is that of a rolling upgrade, whose
    migrations leave what it uses in place.
    """
    try:
        with anyio.fail_after(_LEND_S):
            async with pool.connection() as conn:
                await migrate.require_current(conn, or_newer=True)
    except (UnavailableError, TimeoutError):
        return "not known, since PostgreSQL does not answer"
    except SchemaError as error:
        return str(error)
    return None


def describe_listener(fault: str | None, *, poll_interval_s: float) -> str | None:
    """Say what goes on all the same while notifications do not arrive; None when they do."""
    if fault is None:
        return None
    return f"polling every {poll_interval_s:g} s, since no notifications arrive: {fault}"
