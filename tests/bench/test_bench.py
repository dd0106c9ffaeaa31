"""`signalstack bench` through its front door: what it reports, refuses and leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from signalstack.bench.figure import judge, latency

if TYPE_CHECKING:
    from pathlib import Path

_COMMAND: Final = (sys.executable, "-m", "signalstack", "bench")
_LIVE_JOB: Final = """
    INSERT INTO signalstack.jobs
        (user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload)
    VALUES
        (gen_random_uuid(), gen_random_uuid(), 'noop', 'default', 0, false, 1, now(), '{}')
"""
_LEFT: Final = """
    SELECT
        (SELECT count(*) FROM signalstack.jobs)
        + (SELECT count(*) FROM signalstack.finished_jobs)
        + (SELECT count(*) FROM signalstack.attempts)
        + (SELECT count(*) FROM signalstack.metrics_delta)
        + (SELECT count(*) FROM signalstack.metrics_hourly)
        + (SELECT count(*) FROM signalstack.users)
        + (SELECT count(*) FROM signalstack.api_keys)
        + (SELECT count(*) FROM signalstack.queues WHERE name NOT IN ('default', 'messages'))
"""
# Counts the connections of ours that are still there, after a moment in which they may end.
_OTHERS: Final = """
    SELECT count(*)
    FROM pg_sleep(0.05), pg_stat_activity AS a
    WHERE a.application_name LIKE 'signalstack%' AND a.datname = current_database()
"""


def _environment(database_url: str) -> dict[str, str]:
    return dict(os.environ, DATABASE_URL=database_url)  # noqa: TID251 - it is handed on


def _run(database_url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *options],
        env=_environment(database_url),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def _count(database_url: str, query: str) -> int:
    with psycopg.connect(database_url) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_quick_run_measures_everything_and_leaves_nothing(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"

    ended = _run(database_url, "--quick", "--json", str(path))

    assert ended.returncode == 0, ended.stderr
    report = json.loads(path.read_text())
    assert report["quick"] is True
    assert report["machine"]["cpus"] >= 1
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert figures.keys() >= {
        "idle.commit_to_start",
        "idle.call_to_start",
        "idle.request_to_start",
        "steady.call_to_start",
        "drain.1",
        "drain.2",
        "enqueue.1",
        "enqueue.64",
        "enqueue.batch.100",
        "enqueue.batch.1000",
        "http.jobs",
        "http.batch",
        "wait.waited",
        "wait.create",
        "wait.dispatch",
        "lists.first",
        "lists.deep",
        "lists.queues",
        "lists.queues.new",
        "telemetry.off",
        "telemetry.metrics",
        "telemetry.traces",
        "telemetry.roots",
    }
    for figure in figures.values():
        _check(figure, figures)
        assert figure["title"] in ended.stdout
    assert len(report["verdicts"]) == 8
    for verdict in report["verdicts"]:
        assert verdict["target"] in ended.stdout
    assert _count(database_url, _LEFT) == 0


def _check(figure: dict[str, Any], figures: dict[str, Any]) -> None:
    if figure["floor"] is not None:
        assert figures[figure["floor"]]["floor"] is None, "a floor stands on no other floor"
    if figure["unit"] == "ms":
        assert figure["value"] <= figure["p95"] <= figure["p99"] < 10_000
        assert figure["count"] >= 20
    else:
        assert figure["unit"] == "1/s"
        assert min(figure["runs"]) <= figure["value"] <= max(figure["runs"])
        assert figure["value"] > 0


@pytest.mark.parametrize(
    ("figures", "met"),
    [
        ({"wait.waited": 20, "wait.create": 10, "wait.dispatch": 10}, True),
        ({"wait.waited": 21, "wait.create": 10, "wait.dispatch": 10}, False),
        ({"lists.deep": 20, "lists.first": 10}, True),
        ({"lists.deep": 21, "lists.first": 10}, False),
        ({"lists.queues": 20, "lists.queues.new": 10}, True),
        ({"lists.queues": 21, "lists.queues.new": 10}, False),
        ({"telemetry.metrics": 90, "telemetry.off": 100}, True),
        ({"telemetry.metrics": 89, "telemetry.off": 100}, False),
        ({"telemetry.traces": 85, "telemetry.off": 100}, True),
        ({"telemetry.traces": 84, "telemetry.off": 100}, False),
    ],
)
def test_a_target_is_reached_up_to_its_bound(figures: dict[str, int], *, met: bool) -> None:
    verdicts = judge([latency(name, name, [ms * 1_000_000]) for name, ms in figures.items()])

    assert [verdict.met for verdict in verdicts] == [met]


def test_one_measurement_alone_as_json_on_stdout(database_url: str) -> None:
    ended = _run(database_url, "--quick", "--only", "steady", "--json", "-")

    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert {figure["name"].split(".")[0] for figure in report["figures"]} == {"steady"}
    assert report["verdicts"] == []
    assert "measuring steady" in ended.stderr


def test_live_jobs_are_left_alone(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute(_LIVE_JOB)

    ended = _run(database_url, "--quick", "--only", "steady")

    assert ended.returncode == 1
    assert "this database holds live jobs" in ended.stderr
    assert _count(database_url, "SELECT count(*) FROM signalstack.jobs WHERE attempt = 0") == 1


def test_forced_beside_live_jobs_it_touches_none_of_them(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute(_LIVE_JOB)

    ended = _run(database_url, "--quick", "--only", "steady", "--force")

    assert ended.returncode == 0, ended.stderr
    assert _count(database_url, "SELECT count(*) FROM signalstack.jobs WHERE attempt = 0") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_takes_its_processes_along(
    database_url: str, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [*_COMMAND, "--only", "steady"],
        env=_environment(database_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert "measuring steady" in process.stderr.readline()
        process.send_signal(number)
        process.communicate(timeout=30)

    assert process.returncode == 1
    # A backend ends a moment after the process that it served: up to five seconds, in PostgreSQL.
    assert any(_count(database_url, _OTHERS) == 0 for _ in range(100))
    assert _count(database_url, _LEFT) == 0
