"""What a caller is told is on disk, though its job may not have waited for the disk.

Commits that must be durable are held up here by a synchronous standby that does not exist.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from front import open_front
from holding import PATIENCE_S
from rows import connect, value
from signalstack.core.stage import Finished, Started
from working import open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx2

    from front import Front
    from holding import Server
    from working import Crew


class Asked:
    """A request under way."""

    def __init__(self) -> None:
        self.answer: httpx2.Response | None = None

    async def ask(self, client: httpx2.AsyncClient, **headers: str) -> None:
        self.answer = await client.post("/v1/jobs", json={"type": "noop"}, headers=headers)


@asynccontextmanager
async def serving(server: Server) -> AsyncGenerator[tuple[Front, Crew]]:
    """Give an API and a worker at rest, whose durable commits are held up."""
    async with (
        open_front(server.dsn) as front,
        open_shop(server.dsn) as shop,
        shop.worker({}) as crew,
    ):
        await server.hold_commits()
        yield front, crew


@asynccontextmanager
async def asking(client: httpx2.AsyncClient, **headers: str) -> AsyncGenerator[Asked]:
    """Ask for a job meanwhile; the answer is there when the context ends."""
    asked = Asked()
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: asked.ask(client, **headers))
            yield asked


@pytest.mark.parametrize(
    ("headers", "held", "answer"),
    [
        pytest.param({}, "intake", (201, "pending"), id="create"),
        pytest.param({"prefer": "wait=20"}, "settle", (200, "succeeded"), id="create and wait"),
    ],
)
async def test_a_job_runs_before_it_is_durable_and_is_answered_after(
    server: Server, headers: dict[str, str], held: str, answer: tuple[int, str]
) -> None:
    async with serving(server) as (front, crew), asking(front.client, **headers) as asked:
        await crew.facts.seen(Finished, timeout_s=PATIENCE_S)
        await server.held(held)
        assert asked.answer is None
        await server.hold_commits("")

    assert asked.answer is not None
    assert (asked.answer.status_code, asked.answer.json()["status"]) == answer


async def test_a_slow_disk_holds_up_no_start(server: Server) -> None:
    async with serving(server) as (front, crew), asking(front.client) as first:
        await server.held("intake")
        async with asking(front.client) as second, asking(front.client) as third:
            await crew.facts.seen(Finished, count=3, timeout_s=PATIENCE_S)
            assert (first.answer, second.answer, third.answer) == (None, None, None)
            await server.hold_commits("")

    for asked in (first, second, third):
        assert asked.answer is not None
        assert asked.answer.status_code == 201


async def test_what_was_stored_beside_is_no_success_when_its_flush_is_lost(server: Server) -> None:
    async with open_front(server.dsn) as front, connect(server.dsn) as conn:
        await server.hold_commits()
        async with asking(front.client) as first:
            await server.held("intake")
            async with asking(front.client) as second:
                with anyio.fail_after(PATIENCE_S):
                    while await value(conn, "SELECT count(*) FROM signalstack.jobs") != 2:
                        await anyio.lowlevel.checkpoint()
                await server.end("intake")
                await server.hold_commits("")

    for asked in (first, second):
        assert asked.answer is not None
        assert asked.answer.status_code == 503


async def test_a_doubt_about_the_disk_is_no_success_and_no_second_job(server: Server) -> None:
    async with open_front(server.dsn) as front:
        await server.hold_commits()
        async with asking(front.client) as asked:
            await server.end("intake")
            await server.hold_commits("")
        listed = await front.client.get("/v1/jobs")

    assert asked.answer is not None
    assert asked.answer.status_code == 503
    assert len(listed.json()["data"]) == 1


async def test_a_wait_that_runs_out_is_answered_once_the_job_is_durable(server: Server) -> None:
    async with open_front(server.dsn) as front:
        await server.hold_commits()
        async with asking(front.client, prefer="wait=1") as asked:
            await server.held("intake")
            assert asked.answer is None
            await server.hold_commits("")

    assert asked.answer is not None
    assert (asked.answer.status_code, asked.answer.json()["status"]) == (202, "pending")


@pytest.mark.parametrize("prefer", [{}, {"prefer": "wait=20"}], ids=["create", "create and wait"])
async def test_a_job_with_a_key_is_durable_before_it_runs(
    server: Server, prefer: dict[str, str]
) -> None:
    headers = {**prefer, "idempotency-key": "k"}
    async with serving(server) as (front, crew), asking(front.client, **headers) as asked:
        await server.held("intake")
        assert not crew.facts.facts(Started)
        await server.hold_commits("")

    assert asked.answer is not None
    assert asked.answer.status_code == (200 if prefer else 201)
