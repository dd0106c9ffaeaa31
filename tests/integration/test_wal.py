"""Who may be told that what was stored over one connection is on disk, flushed over another."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from holding import PATIENCE_S
from pooler import pgbouncer
from recording import RecordingObserver
from rows import add_jobs, add_user, connect, new_job, new_write, open_link, value
from signalstack.core.errors import UnavailableError
from signalstack.core.ids import new_id
from signalstack.store import intake
from signalstack.store.intake import Intake
from signalstack.store.writes import Receipt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from holding import Server
    from rows import Database
    from signalstack.store.link import Link


class Desk:
    """An intake with two links, and what became of the writes that were handed in."""

    def __init__(self, link: Link, beside: Link, conn: Database, tenant: UUID) -> None:
        self.link = link
        self.beside = beside
        self.conn = conn
        self.outcomes: list[Receipt | UnavailableError | None] = []
        self._intake = Intake(link, RecordingObserver(), beside=beside)
        self.tenant = tenant

    async def submit(
        self, id_: UUID | None = None, *, key: str | None = None, payload: bytes = b"null"
    ) -> None:
        """Hand a job in and take its outcome down."""
        place = len(self.outcomes)
        self.outcomes.append(None)
        write = new_write(self.tenant, new_job(id=id_ or new_id(), payload=payload), key=key)
        try:
            self.outcomes[place] = await self._intake.submit(write)
        except UnavailableError as error:
            self.outcomes[place] = error

    async def until_stored(self, count: int) -> None:
        """Wait until so many jobs can be seen."""
        with anyio.fail_after(PATIENCE_S):
            while await self.stored() != count:
                await anyio.lowlevel.checkpoint()

    async def stored(self) -> int:
        """Count the jobs that can be seen."""
        return await value(self.conn, "SELECT count(*) FROM signalstack.jobs")


@asynccontextmanager
async def at_desk(server: Server) -> AsyncGenerator[Desk]:
    """Give a desk whose first write, a job, is stored and waits for the disk."""
    observer = RecordingObserver()
    async with (
        open_link(server.dsn, observer, intake.STATEMENTS, settings=intake.SESSION) as link,
        open_link(server.dsn, observer, intake.STATEMENTS, settings=intake.SESSION) as beside,
        connect(server.dsn) as conn,
    ):
        desk = Desk(link, beside, conn, await add_user(conn))
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                await server.hold_commits()
                tasks.start_soon(desk.submit)
                await desk.until_stored(1)
                yield desk
                await server.hold_commits("")
        assert None not in desk.outcomes


async def test_a_write_behind_one_that_waits_for_the_disk_is_stored_beside_it(
    server: Server,
) -> None:
    async with at_desk(server) as desk, anyio.create_task_group() as tasks:
        tasks.start_soon(desk.submit)
        await desk.until_stored(2)
        assert desk.outcomes == [None, None]
        await server.hold_commits("")

    assert all(isinstance(outcome, Receipt) for outcome in desk.outcomes)


async def test_a_key_is_answered_for_when_its_own_commit_is_on_disk(server: Server) -> None:
    async with at_desk(server) as desk, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: desk.submit(key="k"))
        await server.held("test", count=2)
        assert await desk.stored() == 1  # a commit that waits is seen by nobody
        await server.hold_commits("")

    assert all(isinstance(outcome, Receipt) for outcome in desk.outcomes)


async def test_what_is_stored_and_waits_for_the_disk_counts_as_waiting(server: Server) -> None:
    large = b'"' + b"x" * (intake.WAITING_BYTES // 4) + b'"'
    async with at_desk(server) as desk:
        async with anyio.create_task_group() as tasks:
            for stored in (2, 3, 4):
                tasks.start_soon(lambda: desk.submit(payload=large))
                await desk.until_stored(stored)
            with anyio.fail_after(PATIENCE_S):
                await desk.submit(payload=large)
            await server.hold_commits("")
        await desk.submit(payload=large)  # nothing waits any more

    refused = desk.outcomes.pop(4)
    assert isinstance(refused, UnavailableError)
    assert "too much waits" in str(refused)
    assert all(isinstance(outcome, Receipt) for outcome in desk.outcomes)


async def test_behind_a_pooler_nothing_is_stored_before_it_is_on_disk(server: Server) -> None:
    """Its connection outlives a crash of PostgreSQL, which nobody would hear of."""
    observer = RecordingObserver()
    with pgbouncer(server.dsn) as pooled:
        async with (
            open_link(pooled, observer, intake.STATEMENTS, settings=intake.SESSION) as link,
            connect(server.dsn) as conn,
        ):
            desk = Desk(link, link, conn, await add_user(conn))
            await server.hold_commits()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(desk.submit)
                await server.held("test")
                assert await desk.stored() == 0
                await server.hold_commits("")

    assert isinstance(desk.outcomes[0], Receipt)


async def test_a_flush_after_a_reconnect_does_not_stand_for_what_was_stored_before(
    server: Server,
) -> None:
    """The connection may have been lost because PostgreSQL crashed, and forgot what was stored."""
    async with at_desk(server) as desk, connect(server.dsn) as rival:
        await rival.execute("BEGIN")
        (id_,) = await add_jobs(rival, desk.tenant)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.submit, id_)
            await server.until(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = %s AND NOT granted)",
                desk.beside.backend_pid,
            )
            opened = desk.link.opened
            await desk.conn.execute("SELECT pg_terminate_backend(%s)", (desk.link.backend_pid,))
            while desk.link.opened == opened:
                await anyio.lowlevel.checkpoint()
            await server.hold_commits("")
            await rival.rollback()

    assert all(isinstance(outcome, UnavailableError) for outcome in desk.outcomes)
    assert "before this was on disk" in str(desk.outcomes[1])


@pytest.mark.parametrize("trouble", ["another server", "gone"])
async def test_a_second_link_that_cannot_be_flushed_for_is_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """As after a failover, when one link may lead to the new server and the other to the old."""
    async with at_desk(server) as desk, anyio.create_task_group() as tasks:
        if trouble == "gone":
            desk.beside.drop("for the test")
            monkeypatch.setattr(desk.beside, "open", _never)
        else:
            desk.beside.server = "another one"
        tasks.start_soon(desk.submit)
        await anyio.wait_all_tasks_blocked()
        await server.held("test", count=1)
        assert await desk.stored() == 1
        await server.hold_commits("")

    assert all(isinstance(outcome, Receipt) for outcome in desk.outcomes)


async def _never() -> None:
    raise UnavailableError("for the test")
