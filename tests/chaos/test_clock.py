"""Clocks that are an hour off: due times, leases and figures go by the database's clock."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chaos.promises import kept, more
from chaos.stack import TENANTS, open_stack
from programs import find

if TYPE_CHECKING:
    from chaos.stack import Stack

pytestmark = pytest.mark.slow

FOLDERS = (Path("/usr/lib"), Path("/usr/local/lib"))


def _off_by(offset: str) -> dict[str, str]:
    find("faketime")
    found = chain.from_iterable(folder.glob("**/libfaketime.so.1") for folder in FOLDERS)
    return {
        "LD_PRELOAD": str(next(found)),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.timeout(120)
async def test_clocks_an_hour_off_change_neither_when_jobs_run_nor_who_runs_them(
    database_url: str, tmp_path: Path
) -> None:
    fast, slow = _off_by("+1h"), _off_by("-1h")

    async def arrange(stack: Stack) -> None:
        stack.api.settings |= slow
        stack.workers[0].settings |= fast

    async with (
        open_stack(tmp_path, dsn=database_url, arrange=arrange) as stack,
        kept(stack) as told,
    ):
        await more(told)
        async with stack.client(TENANTS[0], timeout_s=20) as client:
            for _ in range(6):
                answer = await client.post(
                    "/v1/jobs",
                    json={"type": "chaos", "payload": {}, "delay_s": 0.5},
                    headers={"prefer": "wait=15"},
                )
                assert answer.status_code == 200, answer.text
        await more(told)
        rows = await stack.rows(
            "SELECT extract(EPOCH FROM started_at - run_at)::float8 AS late_s,"
            " extract(EPOCH FROM clock_timestamp() - finished_at)::float8 AS ago_s"
            " FROM signalstack.finished_jobs WHERE attempt = 1"
        )
        lost = await stack.rows("SELECT job_id FROM signalstack.attempts WHERE outcome = 'lost'")
        starts = [member.starts for member in stack.members]
    assert rows
    assert all(-0.5 < row["late_s"] < 30 for row in rows), sorted(r["late_s"] for r in rows)[-5:]
    assert all(-0.5 < row["ago_s"] < 60 for row in rows)
    assert lost == []
    assert starts == [1, 1, 1]
