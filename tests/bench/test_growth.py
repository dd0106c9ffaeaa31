"""`make bench-growth` through its front door: an axis, its report, and a name that it lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

from bench.growth.figures import Report

_COMMAND: Final = (sys.executable, str(Path(__file__).parent / "growth" / "run.py"))


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *options], capture_output=True, text=True, check=False, timeout=110
    )


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_quick_run_of_one_axis_reports_windows_with_and_without_the_transaction(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.json"

    ended = _run("--quick", "--only", "horizon", "--json", str(path))

    assert ended.returncode == 0, ended.stderr
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    assert [point.held for point in report.axes["horizon"]] == [False, True, True, False]
    for point in report.axes["horizon"]:
        assert 0 < point.figures["steady.p50"].value <= point.figures["steady.p99"].value
    assert "seconds since a transaction began" in ended.stdout


def test_an_unknown_axis_is_refused_with_those_that_there_are() -> None:
    ended = _run("--only", "workers,weather")

    assert ended.returncode == 2
    assert "weather: not one of backlog, history" in ended.stderr
