"""One tenant's flood beside another's few jobs: how late those start, with and without it."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Final

import anyio
import pytest

from chaos.checker import percentile
from chaos.stack import TENANTS, open_stack
from signalstack.worker.prefetch import AHEAD_LIMIT

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.stack import Stack

pytestmark = pytest.mark.slow

# Lanes are walked in this order: the flood is met first.
FLOOD, SMALL = TENANTS
ROUNDS: Final = 3
PROBES: Final = 40
OVERTAKEN: Final = AHEAD_LIMIT
USUALLY: Final = 50
"""Runs of the flood that may start before a job that came after them: at most what a worker leases
ahead, which is much while claims are slow, and at the median a few slots' worth. They are counted,
since a busy machine is late with everything.
"""
_FILL: Final = """
    INSERT INTO signalstack.jobs
        (user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload)
    SELECT u.id, gen_random_uuid(), 'chaos', 'default', 0, false, 3, now(), '{"seconds": 0.02}'
    FROM signalstack.users AS u, generate_series(1, %s) AS n
    WHERE u.name = %s
"""
_HOLD: Final = """
    UPDATE signalstack.queues SET paused = %s::boolean
    WHERE name = 'default' AND user_id = (SELECT id FROM signalstack.users WHERE name = %s)
"""
_STARTS: Final = """
    SELECT
        extract(EPOCH FROM f.started_at - f.created_at)::float8 AS late_s,
        (
            SELECT count(*)
            FROM signalstack.finished_jobs AS o
            WHERE
                o.user_id <> f.user_id
                AND o.started_at > f.created_at
                AND o.started_at < f.started_at
        ) AS overtaken
    FROM signalstack.finished_jobs AS f
    WHERE f.payload ->> 'tick' = %s
"""


@pytest.mark.timeout(120)
async def test_a_tenants_flood_leaves_the_starts_of_another_alone(
    database_url: str, tmp_path: Path
) -> None:
    await _compare(database_url, tmp_path, jobs=20_000)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_million_jobs_of_a_tenant_leave_the_starts_of_another_alone(
    database_url: str, tmp_path: Path
) -> None:
    await _compare(database_url, tmp_path, jobs=1_000_000)


async def _compare(dsn: str, folder: Path, *, jobs: int) -> None:
    """Measure in turns, so that whatever else the machine does meets both alike."""
    async with open_stack(folder, dsn=dsn, workers=1) as stack:
        async with stack.client(FLOOD) as other:
            assert (await other.post("/v1/queues/default/pause")).is_success
        await stack.rows(_FILL, jobs, FLOOD)
        await stack.rows("VACUUM (ANALYZE) signalstack.jobs")  # else it comes when we measure
        for _ in range(ROUNDS):
            await _probe(stack, "calm")
            await stack.rows(_HOLD, "off", FLOOD)
            await _probe(stack, "flood")
            await stack.rows(_HOLD, "on", FLOOD)
        figures = {when: await _figures(stack, when) for when in ("calm", "flood")}
        left = await stack.rows("SELECT count(*) AS n FROM signalstack.jobs")
    sys.stdout.write(f"starts {figures}\n")
    assert 0 < left[0]["n"] < jobs
    assert 0 < figures["flood"]["most_overtaken"] < OVERTAKEN, figures
    assert figures["flood"]["p50_overtaken"] < USUALLY, figures


async def _probe(stack: Stack, when: str) -> None:
    rng = random.Random(2)  # noqa: S311 - it is to be repeatable
    body = {"type": "chaos", "payload": {"tick": when}}
    async with stack.client(SMALL, timeout_s=30) as client, anyio.create_task_group() as tasks:

        async def ask() -> None:
            answer = await client.post("/v1/jobs", json=body, headers={"prefer": "wait=20"})
            assert answer.status_code == 200, answer.text

        for _ in range(PROBES):
            tasks.start_soon(ask)
            await anyio.sleep(rng.uniform(0.01, 0.05))


async def _figures(stack: Stack, when: str) -> dict[str, float]:
    rows = await stack.rows(_STARTS, when)
    assert len(rows) == ROUNDS * PROBES
    late = [float(row["late_s"]) for row in rows]
    overtaken = [float(row["overtaken"]) for row in rows]
    figures = {f"p{share}_s": round(percentile(late, share / 100), 4) for share in (50, 99)}
    return figures | {"p50_overtaken": percentile(overtaken, 0.5), "most_overtaken": max(overtaken)}
