"""A PostgreSQL whose durable commits can be held up, by a synchronous standby that is not there."""

from __future__ import annotations

from typing import Final

import anyio
import psycopg

PATIENCE_S: Final = 20


class Server:
    """A PostgreSQL of a test's own whose durable commits can be held up."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    async def hold_commits(self, standby: str = "nobody") -> None:
        """Have every durable commit wait from now on; with no standby: not any more."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn:
            await conn.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'".encode())
            await conn.execute("SELECT pg_reload_conf()")
        # Backends read the change at their next command.
        await self.until("SELECT current_setting('synchronous_standby_names') = %s", standby)

    async def held(self, name: str, count: int = 1) -> None:
        """Wait until connections of this name, so many, wait in a commit."""
        await self.until(
            "SELECT count(*) = %s FROM pg_stat_activity"
            " WHERE application_name = %s AND wait_event = 'SyncRep'",
            count,
            f"signalstack {name}",
        )

    async def end(self, name: str) -> None:
        """End a connection of this name that waits in a commit."""
        await self.held(name)
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn:
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s",
                [f"signalstack {name}"],
            )

    async def until(self, query: str, *parameters: object) -> None:
        """Wait until a query says yes."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn:
            with anyio.fail_after(PATIENCE_S):
                while await self._ask(conn, query, parameters) != (True,):
                    await anyio.lowlevel.checkpoint()

    @staticmethod
    async def _ask(
        conn: psycopg.AsyncConnection, query: str, parameters: tuple[object, ...]
    ) -> object:
        return await (await conn.execute(query.encode(), parameters)).fetchone()
