"""A stack under load for a while, and what must hold afterwards: for faults with a set-up."""

from __future__ import annotations

import random
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import httpx2
import psycopg

from chaos.checker import check
from chaos.ledger import Told, read_spans
from chaos.load import Load
from chaos.stack import TENANTS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from chaos.stack import Stack

CALLERS: Final = 4
DRAIN_S: Final = 40.0
PATIENCE_S: Final = 30.0


@contextmanager
def open_folder() -> Generator[Path]:
    """Make a folder that PostgreSQL's account can reach."""
    with tempfile.TemporaryDirectory(prefix="signalstack-chaos-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@asynccontextmanager
async def kept(stack: Stack) -> AsyncGenerator[Told]:
    """Have callers ask during the block; at the end nothing may be left, lost or done twice."""
    told = Told()
    load = Load(stack, told, random.Random(1))  # noqa: S311 - it is to be repeatable
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load.run, CALLERS)
        yield told
        load.stop()
    await until(lambda: _is_empty(stack), DRAIN_S)
    assert await check(stack, told, read_spans(stack.ledger)) == []


async def runs_a_job(stack: Stack, within_s: float = PATIENCE_S) -> float:
    """Wait until a new job has run, and return how many seconds that took."""
    began = anyio.current_time()
    body: dict[str, object] = {"type": "chaos", "payload": {}, "priority": 100}
    async with stack.client(TENANTS[0], timeout_s=within_s) as client:

        async def has_run() -> bool:
            answer = await client.post("/v1/jobs", json=body, headers={"prefer": "wait=10"})
            return answer.status_code == 200

        await until(has_run, within_s)
    return anyio.current_time() - began


async def more(told: Told, count: int = 50) -> None:
    """Wait until callers were told of so many more jobs."""
    mark = len(told.acknowledged) + count

    async def enough() -> bool:
        return len(told.acknowledged) >= mark

    await until(enough)


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = PATIENCE_S) -> None:
    """Ask until it is so; other processes set no event of ours."""
    with anyio.fail_after(within_s):
        while not await _said(holds):  # noqa: ASYNC110 - others work
            await anyio.sleep(0.05)


async def _said(holds: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await holds()
    except (OSError, httpx2.HTTPError, psycopg.OperationalError):
        return False


async def _is_empty(stack: Stack) -> bool:
    return not await stack.rows("SELECT id FROM signalstack.jobs LIMIT 1")
