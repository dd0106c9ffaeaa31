"""`signalstack up` on an embedded PostgreSQL: begins, serves, and ends in good order."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import psycopg
import pytest

from gate import WITH_GATE, open_gate
from processes import PATIENCE_S, Running, finish, start
from programs import find
from signalstack.store import embedded

if TYPE_CHECKING:
    from pathlib import Path

    from gate import Gate

pytestmark = pytest.mark.slow


async def test_the_printed_curl_line_works_and_a_second_start_keeps_what_was_made(
    data_dir: Path,
) -> None:
    shell = [find("sh"), "-c"]
    find("curl")
    async with start("up", "--data-dir", data_dir) as first:
        line = await first.read(r"^curl .*$")
        key = await first.read(r"^API key +(\S+)")
        answer = await anyio.run_process([*shell, line])
        job = json.loads(answer.stdout)
        assert await first.stop() == 0

    async with start("up", "--data-dir", data_dir) as second:
        found = await get(await second.read(r"^API +(\S+)"), f"/v1/jobs/{job['id']}", key)
        dsn = await second.read(r"^database +(\S+)")
        code, _, _ = await finish("keys", "create", "--user", "acme", DATABASE_URL=dsn)
        assert await second.stop() == 0

    assert code == 0
    assert job["type"] == "noop"
    assert found["payload"] == {"hello": "world"}
    assert key not in second.output
    assert "API key" not in second.output
    assert not (data_dir / "cluster" / "postmaster.pid").exists()


async def test_says_where_it_can_be_reached_and_is_ready(data_dir: Path) -> None:
    async with start("up", "--data-dir", data_dir) as process:
        base, metrics = await process.read(r"^API +(\S+)"), await process.read(r"^metrics +(\S+)")
        async with httpx2.AsyncClient() as client:
            ready = await client.get(f"{base}/ready")
            scrape = await client.get(metrics)

    assert ready.status_code == 200, ready.text
    assert "signalstack_listener_up 1" in scrape.text


async def test_ctrl_c_lets_work_end_before_postgresql_does(data_dir: Path) -> None:
    async with open_gate() as gate, start("up", "--data-dir", data_dir, **WITH_GATE) as process:
        job_id = await begin_held_job(process, gate)
        run = await gate.knocked()

        process.signal_group(signal.SIGINT)
        await process.read_error(r"draining running=1")
        with psycopg.connect((data_dir / "dsn").read_text().strip()) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
        await run.send(b".")

        assert await process.wait() == 0
    assert finished(data_dir, job_id) == ("succeeded", "let go in attempt 1")


async def test_a_second_signal_stops_at_once_and_the_job_stays(data_dir: Path) -> None:
    async with open_gate() as gate, start("up", "--data-dir", data_dir, **WITH_GATE) as process:
        job_id = await begin_held_job(process, gate)
        await gate.knocked()
        process.process.send_signal(signal.SIGTERM)
        await process.read_error(r"draining running=1")

        assert await process.stop() == 128 + signal.SIGTERM
        assert process.errors.endswith("\nsignalstack: stopped at once\n")
        assert "exception" not in process.errors
    assert finished(data_dir, job_id) is None


async def test_kill_9_leaves_no_postgresql_behind(data_dir: Path) -> None:
    async with start("up", "--data-dir", data_dir) as process:
        await process.read(r"^API +(\S+)")
        pid = int((data_dir / "cluster" / "postmaster.pid").read_text().split()[0])
        postgres = os.pidfd_open(pid)

        assert await process.stop(signal.SIGKILL) == -signal.SIGKILL

        with anyio.fail_after(PATIENCE_S):
            await anyio.wait_readable(postgres)  # readable once the process has ended
        os.close(postgres)


async def test_a_second_one_on_the_same_folder_is_told_who_holds_it(data_dir: Path) -> None:
    async with start("up", "--data-dir", data_dir) as first:
        await first.read(r"^API +(\S+)")
        async with start("up", "--data-dir", data_dir) as second:
            assert await second.wait() == 1

    assert f"in use by process {first.pid}" in second.errors


async def begin_held_job(process: Running, gate: Gate) -> str:
    """Create a job that runs until the gate lets it go."""
    base, key = await process.read(r"^API +(\S+)"), await process.read(r"^API key +(\S+)")
    async with httpx2.AsyncClient(base_url=base, headers={"x-api-key": key}) as client:
        body = {"type": "hold", "payload": {"port": gate.port}}
        answer = await client.post("/v1/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def get(base: str, path: str, key: str) -> Any:
    async with httpx2.AsyncClient(base_url=base, headers={"x-api-key": key}) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def finished(data_dir: Path, job_id: str) -> tuple[str, object] | None:
    """Look up how a job ended in the database that a process has left."""
    server = embedded.start(data_dir)
    try:
        with psycopg.connect(server.facts.dsn) as conn:
            query = "SELECT status, result FROM signalstack.finished_jobs WHERE id = %s"
            return conn.execute(query, [job_id]).fetchone()
    finally:
        server.stop()
