"""What a chaos run does to the system: each fault, how it is taken back, how soon work goes on."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
import psycopg

from chaos.fault import LINK_S, START_S, Fault
from chaos.stack import LEASE_S, POLL_S, TENANTS, WATCHDOG_S
from chaos.surroundings import SURROUNDINGS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from chaos.proxy import Mode
    from chaos.stack import Stack


async def _kill_worker(stack: Stack, rng: Random) -> None:
    rng.choice(stack.workers).signal(signal.SIGKILL)


async def _kill_all_workers(stack: Stack, _rng: Random) -> None:
    for worker in stack.workers:
        worker.signal(signal.SIGKILL)


async def _terminate_worker(stack: Stack, rng: Random) -> None:
    rng.choice(stack.workers).signal(signal.SIGTERM)


async def _terminate_then_kill(stack: Stack, rng: Random) -> None:
    worker = rng.choice(stack.workers)
    worker.signal(signal.SIGTERM)
    await anyio.sleep(rng.uniform(0.01, 0.3))
    worker.signal(signal.SIGKILL)


async def _kill_api(stack: Stack, _rng: Random) -> None:
    stack.api.signal(signal.SIGKILL)


async def _freeze_worker(stack: Stack, rng: Random) -> None:
    """Stop one for longer than its lease: it comes back as a zombie that knows nothing."""
    worker = rng.choice(stack.workers)
    worker.signal(signal.SIGSTOP)
    await anyio.sleep(LEASE_S + 2)
    worker.signal(signal.SIGCONT)
    await anyio.sleep(1)  # it learns that it is one, and meanwhile runs what it had


async def _ask(stack: Stack, payload: dict[str, Any]) -> None:
    with suppress(httpx2.HTTPError):
        async with stack.client(TENANTS[0]) as client:
            await client.post("/v1/jobs", json={"type": "chaos", "payload": payload})


async def _die_after_effect(stack: Stack, _rng: Random) -> None:
    await _ask(stack, {"dies": True})


async def _block_loop(stack: Stack, _rng: Random) -> None:
    """Block a worker's loop for longer than its lease: the heartbeat's thread goes on."""
    await _ask(stack, {"blocks_s": LEASE_S + 1.5})
    await anyio.sleep(LEASE_S + 2)


async def _hang_loop(stack: Stack, _rng: Random) -> None:
    """Block it for so long that the watchdog ends the process."""
    before = [worker.starts for worker in stack.workers]
    await _ask(stack, {"blocks_s": 600})
    with anyio.move_on_after(2 * WATCHDOG_S):
        while before == [worker.starts for worker in stack.workers]:  # noqa: ASYNC110 - no event
            await anyio.sleep(0.05)


def _end_backend(name: str) -> Callable[[Stack, Random], Awaitable[None]]:
    async def strike(stack: Stack, _rng: Random) -> None:
        await stack.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            f"signalstack {name}",
        )

    return strike


async def _crash_backend(stack: Stack, rng: Random) -> None:
    """Kill one backend as a bug would: PostgreSQL then restarts all of itself."""
    found = await stack.rows(
        "SELECT pid FROM pg_stat_activity WHERE starts_with(application_name, 'signalstack')"
    )
    at = anyio.current_time()
    if found:
        await anyio.run_process(["kill", "-9", str(rng.choice(found)["pid"])], check=False)
    await _until_answers(stack)
    stack.crashes.append((at, anyio.current_time()))


async def _crash_postgres(stack: Stack, _rng: Random) -> None:
    await stack.stop_postgres()
    await stack.start_postgres()


async def _away_postgres(stack: Stack, rng: Random) -> None:
    await stack.stop_postgres(signal.SIGINT)
    await anyio.sleep(rng.uniform(2, 6))
    await stack.start_postgres()


def _through(mode: Mode, seconds: float) -> Callable[[Stack, Random], Awaitable[None]]:
    async def strike(stack: Stack, rng: Random) -> None:
        proxy = stack.proxies[rng.choice([*stack.proxies])]
        proxy.mode = mode
        if mode == "refuse":
            proxy.reset()
        await anyio.sleep(seconds)
        proxy.mode = "pass"

    return strike


async def _reset_all(stack: Stack, _rng: Random) -> None:
    for proxy in stack.proxies.values():
        proxy.reset()


async def _lock_tables(stack: Stack, rng: Random) -> None:
    async with await psycopg.AsyncConnection.connect(stack.dsn) as conn:
        table = rng.choice(["jobs", "finished_jobs", "workers", "queues", "metrics_delta"])
        with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            await conn.execute("SET lock_timeout = '2s'")
            await conn.execute(f"LOCK TABLE signalstack.{table} IN ACCESS EXCLUSIVE MODE".encode())
            await anyio.sleep(rng.uniform(1, 4))
        await conn.rollback()


async def _use_up_connections(stack: Stack, _rng: Random) -> None:
    """Take all connections that are left, and have ours break meanwhile."""
    async with AsyncExitStack() as opened:
        with suppress(psycopg.OperationalError):
            while True:
                await opened.enter_async_context(await psycopg.AsyncConnection.connect(stack.dsn))
        for proxy in stack.proxies.values():
            proxy.reset()
        await anyio.sleep(2)


async def _deaf_listeners(stack: Stack, _rng: Random) -> None:
    """Have every notification lost for a while: polling goes on."""
    await stack.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name IN ('signalstack claim', 'signalstack intake')"
    )


async def _kill_leader(stack: Stack, _rng: Random) -> None:
    """Kill a worker process again and again: whoever leads goes each time."""
    for worker in stack.workers:
        worker.signal(signal.SIGKILL)
        await anyio.sleep(1.5)


async def _lead_twice(stack: Stack, _rng: Random) -> None:
    """Take the leader's lease away without a word: for a while two believe that they lead."""
    await stack.rows("DELETE FROM signalstack.leaders")


async def _flood_notifications(stack: Stack, _rng: Random) -> None:
    await stack.rows(
        "SELECT count(pg_notify('signalstack_ready', 'nonsense-' || n)),"
        " count(pg_notify('signalstack_cancel', 'no id ' || n)),"
        " count(pg_notify('signalstack_changed', n::text)) FROM generate_series(1, 20000) AS n"
    )


async def _lie_about_statistics(stack: Stack, _rng: Random) -> None:
    await stack.rows("ANALYZE signalstack.jobs")
    await stack.rows("VACUUM signalstack.jobs")


async def _until_answers(stack: Stack) -> None:
    with anyio.fail_after(30):
        while True:
            with suppress(psycopg.OperationalError):
                await stack.rows("SELECT 1 AS one")
                return
            await anyio.sleep(0.05)


FAULTS: Final = (
    Fault(name="kill -9 of a worker", strike=_kill_worker, limit_s=LEASE_S + 2),
    Fault(name="kill -9 of all workers", strike=_kill_all_workers, limit_s=START_S + 2),
    Fault(name="SIGTERM of a worker", strike=_terminate_worker, limit_s=POLL_S + 1),
    Fault(name="SIGTERM, then kill -9", strike=_terminate_then_kill, limit_s=LEASE_S + 2),
    Fault(name="kill -9 of the API", strike=_kill_api, limit_s=START_S + 2),
    Fault(name="SIGSTOP past the lease", strike=_freeze_worker, limit_s=POLL_S + 1),
    Fault(name="death after the effect", strike=_die_after_effect, limit_s=LEASE_S + 2),
    Fault(name="loop blocked past the lease", strike=_block_loop, limit_s=POLL_S + 1),
    Fault(name="loop hung: the watchdog", strike=_hang_loop, limit_s=LEASE_S + 2),
    Fault(name="end of claiming backends", strike=_end_backend("claim"), limit_s=POLL_S + 1),
    Fault(name="end of settling backends", strike=_end_backend("settle"), limit_s=POLL_S + 1),
    Fault(name="end of the intake's backend", strike=_end_backend("intake"), limit_s=POLL_S + 1),
    Fault(
        name="end of the backend beside it",
        strike=_end_backend("intake beside"),
        limit_s=POLL_S + 1,
    ),
    Fault(name="end of heartbeat backends", strike=_end_backend("heartbeat"), limit_s=POLL_S + 1),
    Fault(name="end of all listeners", strike=_deaf_listeners, limit_s=POLL_S + 1),
    Fault(name="crash of a backend", strike=_crash_backend, limit_s=5),
    Fault(name="crash of PostgreSQL", strike=_crash_postgres, limit_s=5),
    Fault(name="PostgreSQL away", strike=_away_postgres, limit_s=5),
    Fault(name="network: 100 ms late", strike=_through("delay", 3), limit_s=POLL_S + 1),
    Fault(name="network: trickle", strike=_through("trickle", 3), limit_s=LINK_S + POLL_S),
    Fault(
        name="network: takes all, hands on nothing",
        strike=_through("swallow", LEASE_S + 5),
        limit_s=10 + POLL_S + 1,
    ),
    Fault(
        name="network: reset in place of the answer",
        strike=_through("reset_answers", 1),
        limit_s=POLL_S + 1,
    ),
    Fault(name="network: refused", strike=_through("refuse", 2), limit_s=POLL_S + 1),
    Fault(name="network: all connections reset", strike=_reset_all, limit_s=POLL_S + 1),
    Fault(name="a table locked", strike=_lock_tables, limit_s=POLL_S + 1),
    Fault(name="no connections left", strike=_use_up_connections, limit_s=LINK_S + POLL_S),
    Fault(name="leader after leader killed", strike=_kill_leader, limit_s=START_S + 2),
    Fault(name="two leaders", strike=_lead_twice, limit_s=POLL_S + 1),
    Fault(name="flood of notifications", strike=_flood_notifications, limit_s=POLL_S + 1),
    Fault(name="stale statistics", strike=_lie_about_statistics, limit_s=POLL_S + 1),
    *SURROUNDINGS,
)
