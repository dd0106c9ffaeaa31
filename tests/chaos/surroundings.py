"""Faults of what surrounds the service: callers, receivers, tenants, the operating system."""

from __future__ import annotations

import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
import psycopg

from chaos.fault import LINK_S, START_S, Fault
from chaos.stack import POLL_S, TENANTS
from receiver import drip, hang, huge, raw, receiver

if TYPE_CHECKING:
    from random import Random

    from chaos.stack import Stack

_GIGABYTE: Final = 1024**3
_DRIP: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 1_000
_CUT_SHORT: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nand no more"
_NO_ANSWER: Final = b""
_FEW_FILES: Final = 2
_CALLERS: Final = 60
_FLOOD: Final = 5
"""Batches of 1,000 jobs each."""
_NOTIFICATIONS: Final = 3_000
_LONG: Final = 7_000


async def _kill_api_after_commit(stack: Stack, _rng: Random) -> None:
    """Kill the API when PostgreSQL has committed and nobody was told: no answer gets through."""
    proxy = stack.proxies["api"]
    proxy.mode = "mute"
    await anyio.sleep(0.3)
    stack.api.signal(signal.SIGKILL)
    proxy.mode = "pass"


async def _mistreat_deliveries(stack: Stack, _rng: Random) -> None:
    """Have webhooks meet receivers that hang, drip, never end, break off, or say nothing."""
    answers = [hang, drip(_DRIP), huge(_GIGABYTE), raw(_CUT_SHORT), raw(_NO_ANSWER)]
    async with receiver(*answers) as here, stack.client(TENANTS[0]) as client:
        payload: dict[str, Any] = {"url": here.url, "body": {}}
        body: dict[str, Any] = {"type": "send_webhook", "payload": payload, "max_attempts": 1}
        with suppress(httpx2.HTTPError, TimeoutError):
            for _ in answers:
                await client.post("/v1/jobs", json=body)
            await here.wait_for(len(answers), timeout_s=5)
            await anyio.sleep(2)  # they are at it


async def _use_up_files(stack: Stack, _rng: Random) -> None:
    """Leave every process of ours a handful of file descriptors, and have its connections break."""
    before = {pid: _limit_files(pid) for pid in [member.pid for member in stack.members] if pid}
    callers: list[anyio.abc.SocketStream] = []
    try:
        for proxy in stack.proxies.values():
            proxy.reset()
        for _ in range(_CALLERS):
            with suppress(OSError):
                callers.append(await anyio.connect_tcp("127.0.0.1", stack.port))
        await anyio.sleep(2)
    finally:
        for caller in callers:
            await caller.aclose()
        for pid, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def _limit_files(pid: int) -> tuple[int, int]:
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    _, hard = limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + _FEW_FILES, hard))
    return limits


async def _freeze_listener(stack: Stack, _rng: Random) -> None:
    """Stop the API, which listens, and ring so much that nothing more can be sent to it."""
    stack.api.signal(signal.SIGSTOP)
    await stack.rows(
        "SELECT count(pg_notify('signalstack_changed', n || repeat('x', %s)))"
        " FROM generate_series(1, %s) AS n",
        _LONG,
        _NOTIFICATIONS,
    )
    await anyio.sleep(2)
    stack.api.signal(signal.SIGCONT)


async def _hold_horizon(stack: Stack, _rng: Random) -> None:
    """Leave a transaction open that keeps all dead rows from being removed."""
    async with await psycopg.AsyncConnection.connect(stack.dsn) as conn:
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await conn.execute("SELECT FROM signalstack.users LIMIT 1")
        await anyio.sleep(4)
        await conn.rollback()


async def _flood(stack: Stack, rng: Random) -> None:
    """Have one tenant ask for thousands of jobs at once; it is the other who then waits for one."""
    jobs: list[dict[str, Any]] = [{"type": "chaos", "payload": {}, "priority": 100}] * 1_000
    async with stack.client(TENANTS[1]) as client:
        for _ in range(rng.randint(1, _FLOOD)):
            with suppress(httpx2.HTTPError):
                await client.post("/v1/jobs/batch", json={"jobs": jobs})


SURROUNDINGS: Final = (
    Fault(
        name="kill -9 of the API after commit, before the answer",
        strike=_kill_api_after_commit,
        limit_s=START_S + 2,
    ),
    Fault(name="receivers that misbehave", strike=_mistreat_deliveries, limit_s=POLL_S + 1),
    Fault(name="no files left", strike=_use_up_files, limit_s=LINK_S + POLL_S),
    Fault(name="frozen listener", strike=_freeze_listener, limit_s=POLL_S + 1),
    Fault(name="a transaction left open", strike=_hold_horizon, limit_s=POLL_S + 1),
    Fault(name="flood of one tenant", strike=_flood, limit_s=POLL_S + 1),
)
