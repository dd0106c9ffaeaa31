"""What a waiting caller is told is on disk, though its job did not wait for the disk.

Commits that must be durable are held up here by a synchronous standby that does not exist.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import psycopg
import pytest

from front import open_front
from signalstack.core.stage import Finished, Started
from signalstack.store import embedded, migrate
from working import open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import httpx2

PATIENCE_S = 20


class Server:
    """A PostgreSQL of a test's own whose durable commits can be held up."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    async def hold_commits(self, standby: str = "nobody") -> None:
        """Have every durable commit wait from now on; with no standby: not any more."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn:
            await conn.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'".encode())
            await conn.execute("SELECT pg_reload_conf()")
            # A walsender's place is none of ours: backends read the change at their next command.
            await self._until(
                conn, "SELECT current_setting('synchronous_standby_names') = %s", standby
            )

    async def held(self, name: str) -> None:
        """Wait until a connection of this name waits in a commit."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn:
            await self._until(
                conn,
                "SELECT EXISTS (SELECT FROM pg_stat_activity"
                " WHERE application_name = %s AND wait_event = 'SyncRep')",
                f"signalstack {name}",
            )

    @staticmethod
    async def _until(conn: psycopg.AsyncConnection, query: str, parameter: str) -> None:
        with anyio.fail_after(PATIENCE_S):
            while (await (await conn.execute(query.encode(), [parameter])).fetchone()) != (True,):
                await anyio.lowlevel.checkpoint()


class Asked:
    """A request under way."""

    def __init__(self) -> None:
        self.answer: httpx2.Response | None = None

    async def ask(self, client: httpx2.AsyncClient, **headers: str) -> None:
        self.answer = await client.post("/v1/jobs", json={"type": "noop"}, headers=headers)


@pytest.fixture
async def server(data_dir: Path) -> AsyncGenerator[Server]:
    async with embedded.run(data_dir) as running:
        await migrate.up(running.dsn)
        yield Server(running.dsn)


@asynccontextmanager
async def asking(client: httpx2.AsyncClient, **headers: str) -> AsyncGenerator[Asked]:
    """Ask for a job meanwhile; the answer is there when the context ends."""
    asked = Asked()
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: asked.ask(client, **headers))
            yield asked


async def test_a_job_runs_before_it_is_durable_and_is_answered_after(server: Server) -> None:
    async with (
        open_front(server.dsn) as front,
        open_shop(server.dsn) as shop,
        shop.worker({}) as crew,
    ):
        await server.hold_commits()
        async with asking(front.client, prefer="wait=20") as asked:
            await crew.facts.seen(Finished, timeout_s=PATIENCE_S)
            await server.held("settle")
            assert asked.answer is None
            await server.hold_commits("")

    assert asked.answer is not None
    assert (asked.answer.status_code, asked.answer.json()["status"]) == (200, "succeeded")


async def test_a_wait_that_runs_out_is_answered_once_the_job_is_durable(server: Server) -> None:
    async with open_front(server.dsn) as front:
        await server.hold_commits()
        async with asking(front.client, prefer="wait=1") as asked:
            await server.held("intake")
            assert asked.answer is None
            await server.hold_commits("")

    assert asked.answer is not None
    assert (asked.answer.status_code, asked.answer.json()["status"]) == (202, "pending")


async def test_a_job_with_a_key_is_durable_before_it_runs(server: Server) -> None:
    async with (
        open_front(server.dsn) as front,
        open_shop(server.dsn) as shop,
        shop.worker({}) as crew,
    ):
        await server.hold_commits()
        async with asking(front.client, prefer="wait=20", **{"idempotency-key": "k"}) as asked:
            await server.held("intake")
            assert not crew.facts.facts(Started)
            await server.hold_commits("")

    assert asked.answer is not None
    assert asked.answer.status_code == 200
