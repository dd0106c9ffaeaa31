"""A schedule of one tick a second while whoever leads is killed every few seconds."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import anyio
import httpx2
import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from chaos.stack import Member
from front import make_key
from processes import start
from signalstack.core.key import Scope
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime
    from uuid import UUID

pytestmark = pytest.mark.slow

KILL_EVERY_S: Final = 4.0
# A lease of 5 s, the look of a second, and the start of a process on a busy machine.
LONGEST_GAP_S: Final = 10.0
_SCHEDULE: Final = {
    "name": "every second",
    "cron": "@every 1s",
    "misfire": "once",
    "job": {"type": "noop"},
}


@pytest.mark.parametrize(
    "seconds", [20, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(180)])]
)
async def test_no_tick_comes_twice_and_none_is_missed_whoever_is_killed(
    database_url: str, seconds: int
) -> None:
    workers = [Member(f"worker-{n}", "worker", _settings(database_url)) for n in (1, 2)]
    async with _client(database_url) as client:
        made = await client.post("/v1/schedules", json=_SCHEDULE)
        assert made.status_code == 201, made.text
        schedule = made.json()["id"]
        kills = 0
        async with anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.keep)
            kills = await _kill_leaders(database_url, schedule, workers, seconds)
            await client.post(f"/v1/schedules/{schedule}/pause")
            tasks.cancel_scope.cancel()

    assert kills >= seconds / KILL_EVERY_S / 2
    ticks = await _rows(database_url, _TICKS, schedule)
    jobs = await _rows(database_url, _JOBS, f"schedule:{schedule}:%")
    assert {tick["outcome"] for tick in ticks} == {"enqueued"}
    # One job a tick, and each tick stands for all between the one before and itself.
    assert sorted(job["id"] for job in jobs) == sorted(tick["job_id"] for tick in ticks)
    for before, tick in pairwise(ticks):
        assert tick["tick"] - before["tick"] == timedelta(seconds=1 + tick["passed"])
    assert max(_gaps([tick["noted_at"] for tick in ticks])) < LONGEST_GAP_S


async def _kill_leaders(dsn: str, schedule: str, workers: list[Member], seconds: int) -> int:
    """Kill whoever leads, every few seconds but never before it has taken a tick."""
    kills = 0
    until = anyio.current_time() + seconds
    while anyio.current_time() < until:
        seen = len(await _rows(dsn, _TICKS, schedule))
        with anyio.fail_after(LONGEST_GAP_S * 2):
            while len(await _rows(dsn, _TICKS, schedule)) <= seen + 1:  # noqa: ASYNC110 - no event
                await anyio.sleep(0.05)
        leader = await _leader(workers)
        if leader is not None:
            leader.signal(signal.SIGKILL)
            kills += 1
        await anyio.sleep(KILL_EVERY_S)
    return kills


async def _leader(workers: list[Member]) -> Member | None:
    """Find the process that says that it leads."""
    async with httpx2.AsyncClient() as client:
        for worker in workers:
            if worker.running is None or "metrics" not in worker.running.output:
                continue
            url = worker.running.output.split()[1]
            try:
                page = (await client.get(url)).text
            except httpx2.HTTPError:
                continue
            if "signalstack_maintenance_leader 1.0" in page:
                return worker
    return None


def _gaps(moments: list[datetime]) -> list[float]:
    return [(later - sooner).total_seconds() for sooner, later in pairwise(moments)]


def _settings(dsn: str) -> dict[str, str]:
    return {"DATABASE_URL": dsn, "LEASE_SECONDS": "3", "LOG_LEVEL": "warning"}


@asynccontextmanager
async def _client(dsn: str) -> AsyncGenerator[httpx2.AsyncClient]:
    async with open_pool(dsn) as pool:
        key = await make_key(pool, "acme", *Scope)
    async with start("api", **_settings(dsn)) as api:
        url = await api.read(r"^API +(\S+)")
        headers = {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
            yield client


async def _rows(dsn: str, query: str, parameter: str | UUID) -> list[DictRow]:
    async with await psycopg.AsyncConnection[DictRow].connect(
        dsn, autocommit=True, row_factory=dict_row
    ) as conn:
        return await (await conn.execute(query.encode(), [parameter])).fetchall()


_TICKS: Final = """
    SELECT tick, outcome, passed, job_id, noted_at
    FROM signalstack.schedule_ticks WHERE schedule_id = %s ORDER BY tick
"""
_JOBS: Final = """
    SELECT id FROM (
        SELECT id, idempotency_key FROM signalstack.jobs
        UNION ALL SELECT id, idempotency_key FROM signalstack.finished_jobs
    ) AS every_job WHERE idempotency_key LIKE %s
"""
