"""The API as a plain ASGI application: what a server of somebody else's gets."""

from __future__ import annotations

import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest

from processes import PATIENCE_S
from signalstack.asgi import Application

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, MutableMapping

    Message = MutableMapping[str, Any]


@asynccontextmanager
async def lifespan(app: Application) -> AsyncGenerator[Message]:
    """Do what a server does with an application; gives what it says to its start."""
    asked, asks = anyio.create_memory_object_stream["Message"](2)
    says, said = anyio.create_memory_object_stream["Message"](2)
    async with asked, asks, says, said, anyio.create_task_group() as tasks:
        tasks.start_soon(app, {"type": "lifespan"}, asks.receive, says.send)
        with anyio.fail_after(PATIENCE_S):
            await asked.send({"type": "lifespan.startup"})
            start = await said.receive()
            yield start
            if start["type"] == "lifespan.startup.complete":
                await asked.send({"type": "lifespan.shutdown"})
                assert (await said.receive())["type"] == "lifespan.shutdown.complete"


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("METRICS_PORT", "0")
    return monkeypatch


@pytest.mark.usefixtures("environment")
async def test_it_serves_while_its_lifespan_lasts() -> None:
    app = Application()
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://a")

    async with client:
        async with lifespan(app) as start:
            ready = await client.get("/ready")
            unknown = await client.post("/v1/jobs", json={"type": "noop"})
        with pytest.raises(RuntimeError, match="lifespan"):
            await client.get("/live")

    assert start == {"type": "lifespan.startup.complete"}
    assert ready.json()["status"] == "ready"
    assert unknown.status_code == 401


async def test_a_wrong_setting_is_told_to_the_server(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REQUEST_TIMEOUT", "soon")

    async with lifespan(Application()) as start:
        assert start["type"] == "lifespan.startup.failed"
        assert "REQUEST_TIMEOUT" in start["message"]


async def test_a_schema_that_is_not_its_own_is_told_to_the_server(
    environment: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    environment.setenv("DATABASE_URL", empty_database_url)

    async with lifespan(Application()) as start:
        assert start["type"] == "lifespan.startup.failed"
        assert "migrate up" in start["message"]


@pytest.mark.usefixtures("environment")
async def test_hypercorns_own_command_serves_it() -> None:
    command = [sys.executable, "-m", "hypercorn", "signalstack.asgi:app", "--bind", "127.0.0.1:0"]
    async with await anyio.open_process(command) as process:
        try:
            assert process.stderr is not None
            log = ""
            with anyio.fail_after(PATIENCE_S):
                while not (bound := re.search(r"Running on (\S+)", log)):
                    log += (await process.stderr.receive()).decode()
                async with httpx2.AsyncClient(base_url=bound[1]) as client:
                    live = await client.get("/live")
            assert live.json() == {"status": "live"}
        finally:
            process.terminate()
